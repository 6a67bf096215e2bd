//! A forest and its calibration as an ONNX model: the messages of `onnx.proto3` that it takes,
//! and the graph.
//!
//! The trees compare in float32 as XGBoost does; calibration is in float64, so that only the last
//! rounding, to the output's float32, is lost.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::calibrate::Calibration;
use crate::trees::Forest;

/// The key of the metadata with the features' names, a JSON array.
pub const FEATURES: &str = "features";
/// The input: N rows of the features, missing values NaN.
pub const INPUT: &str = "features";
/// The output of log-odds, before calibration.
pub const MARGIN: &str = "margin";
/// The output of probabilities, after it.
pub const PROBABILITY: &str = "probability";

// By number as in onnx.proto3. What a message leaves out is at its default.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetId>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetId {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(float, repeated, tag = "7")]
    floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes, repeated, tag = "9")]
    strings: Vec<Vec<u8>>,
    /// Which of the fields it is: 2 INT, 6 FLOATS, 7 INTS, 8 STRINGS.
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(double, repeated, tag = "10")]
    double_data: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

/// Of no value: any.
#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
}

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const DOUBLE: i32 = 11;

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, r#type: 2, ..Default::default() }
}

fn floats(name: &str, floats: Vec<f32>) -> Attribute {
    Attribute { name: name.into(), floats, r#type: 6, ..Default::default() }
}

fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, r#type: 7, ..Default::default() }
}

fn strings(name: &str, strings: Vec<Vec<u8>>) -> Attribute {
    Attribute { name: name.into(), strings, r#type: 8, ..Default::default() }
}

/// N rows of so many float32.
fn value(name: &str, columns: usize) -> ValueInfo {
    let dim = vec![Dimension { dim_value: None }, Dimension { dim_value: Some(columns as i64) }];
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(Shape { dim }) });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
}

#[derive(Default)]
struct Graph {
    node: Vec<Node>,
    initializer: Vec<Tensor>,
}

impl Graph {
    fn op(&mut self, op: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) {
        let input = input.iter().map(|&name| name.into()).collect();
        let (output, op_type) = (vec![output.into()], op.into());
        self.node.push(Node { input, output, op_type, attribute, domain: String::new() });
    }

    fn doubles(&mut self, name: &str, double_data: Vec<f64>) {
        let (name, dims) = (name.into(), vec![double_data.len() as i64]);
        self.initializer.push(Tensor { name, dims, data_type: DOUBLE, double_data, ..Default::default() });
    }

    fn trees(&mut self, forest: &Forest) {
        let (mut tree_of, mut node_of, mut modes) = (vec![], vec![], vec![]);
        let (mut features, mut values, mut left, mut right) = (vec![], vec![], vec![], vec![]);
        let (mut leaf_tree, mut leaf_node, mut weights) = (vec![], vec![], vec![]);
        for (t, tree) in forest.trees.iter().enumerate() {
            for i in 0..tree.left.len() {
                let leaf = tree.left[i] == 0;
                tree_of.push(t as i64);
                node_of.push(i as i64);
                modes.push(if leaf { b"LEAF".to_vec() } else { b"BRANCH_LT".to_vec() });
                // Nothing is less than a missing value: who has it goes right, or left in the second half.
                let half = if tree.default_left[i] { forest.features.len() as i64 } else { 0 };
                features.push(i64::from(tree.feature[i]) + half);
                values.push(tree.threshold[i]);
                left.push(i64::from(tree.left[i]));
                right.push(i64::from(tree.right[i]));
                if leaf {
                    leaf_tree.push(t as i64);
                    leaf_node.push(i as i64);
                    weights.push(tree.leaf[i]);
                }
            }
        }
        let attributes = vec![
            int("n_targets", 1),
            floats("base_values", vec![forest.base_margin]),
            ints("nodes_treeids", tree_of),
            ints("nodes_nodeids", node_of),
            strings("nodes_modes", modes),
            ints("nodes_featureids", features),
            floats("nodes_values", values),
            ints("nodes_truenodeids", left),
            ints("nodes_falsenodeids", right),
            ints("target_ids", vec![0; weights.len()]),
            ints("target_treeids", leaf_tree),
            ints("target_nodeids", leaf_node),
            floats("target_weights", weights),
        ];
        // onnxruntime takes a sixth longer if it looks for missing values at every node: so each feature is there twice,
        // as it is, and with less than any threshold where it is missing.
        let least = Tensor { name: "least".into(), dims: vec![1], data_type: FLOAT, ..Default::default() };
        self.initializer.push(Tensor { float_data: vec![f32::NEG_INFINITY], ..least });
        self.op("IsNaN", &[INPUT], "missing", vec![]);
        self.op("Where", &["missing", "least", INPUT], "least_if_missing", vec![]);
        self.op("Concat", &[INPUT, "least_if_missing"], "both", vec![int("axis", 1)]);
        self.op("TreeEnsembleRegressor", &["both"], MARGIN, attributes);
        if let Some(trees) = self.node.last_mut() {
            trees.domain = "ai.onnx.ml".into();
        }
    }

    fn calibration(&mut self, calibration: &Calibration) {
        let to = |kind: i32| vec![int("to", kind.into())];
        self.op("Cast", &[MARGIN], "m", to(DOUBLE));
        match calibration {
            Calibration::None => self.op("Sigmoid", &["m"], "p", vec![]),
            Calibration::Platt { a, b } => {
                self.doubles("a", vec![*a]);
                self.doubles("b", vec![*b]);
                self.op("Mul", &["m", "a"], "am", vec![]);
                self.op("Add", &["am", "b"], "z", vec![]);
                self.op("Sigmoid", &["z"], "p", vec![]);
            }
            Calibration::Isotonic { margin, probability } => {
                // p = low[k] + slope[k] · (max(m, knot[0]) − knot[k]), k = the number of later knots that m reaches.
                let mut knots: Vec<f64> = margin.iter().map(|&m| m.into()).collect();
                let mut low = probability.clone();
                while knots.len() < 2 {
                    knots.push(knots.last().map_or(0.0, |last| last + 1.0));
                    low.push(low.last().copied().unwrap_or(f64::NAN));
                }
                let pairs = knots.windows(2).zip(low.windows(2));
                let slope = pairs.map(|(m, p)| (p[1] - p[0]) / (m[1] - m[0])).chain([0.0]).collect();
                self.doubles("first", vec![knots[0]]);
                self.doubles("later", knots[1..].to_vec());
                self.doubles("knot", knots);
                self.doubles("low", low);
                self.doubles("slope", slope);
                let axis =
                    Tensor { name: "axis".into(), dims: vec![1], data_type: INT64, ..Default::default() };
                self.initializer.push(Tensor { int64_data: vec![1], ..axis });
                self.op("Max", &["m", "first"], "from", vec![]);
                self.op("GreaterOrEqual", &["m", "later"], "reached", vec![]);
                self.op("Cast", &["reached"], "ones", to(INT64));
                self.op("ReduceSum", &["ones", "axis"], "k", vec![int("keepdims", 1)]);
                for (table, entry) in [("knot", "knot_k"), ("low", "low_k"), ("slope", "slope_k")] {
                    self.op("Gather", &[table, "k"], entry, vec![]);
                }
                self.op("Sub", &["from", "knot_k"], "by", vec![]);
                self.op("Mul", &["by", "slope_k"], "rise", vec![]);
                self.op("Add", &["low_k", "rise"], "p", vec![]);
            }
        }
        self.op("Cast", &["p"], PROBABILITY, to(FLOAT));
    }
}

/// The model's bytes, the same for the same forest, calibration and metadata.
pub fn export(forest: &Forest, calibration: &Calibration, meta: &[(String, String)]) -> Vec<u8> {
    let mut graph = Graph::default();
    graph.trees(forest);
    graph.calibration(calibration);
    let Graph { node, initializer } = graph;
    let input = vec![value(INPUT, forest.features.len())];
    let output = vec![value(MARGIN, 1), value(PROBABILITY, 1)];
    let names = serde_json::Value::from(forest.features.clone()).to_string();
    let meta = meta.iter().map(|(key, value)| Entry { key: key.clone(), value: value.clone() });
    let opset = |domain: &str, version| OperatorSetId { domain: domain.into(), version };
    let model = ModelProto {
        ir_version: 8,
        producer_name: "headsup".into(),
        graph: Some(GraphProto { node, name: "headsup".into(), initializer, input, output }),
        opset_import: vec![opset("", 17), opset("ai.onnx.ml", 3)],
        metadata_props: [Entry { key: FEATURES.into(), value: names }].into_iter().chain(meta).collect(),
    };
    let mut bytes = model.encode_to_vec();
    let checksum = checksum(&bytes);
    bytes.extend(checksum);
    bytes
}

/// One more entry of the metadata, of as many bytes for every model: messages that follow one another
/// are one.
fn checksum(bytes: &[u8]) -> Vec<u8> {
    let value = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ModelProto { metadata_props: vec![Entry { key: "sha256".into(), value }], ..Default::default() }
        .encode_to_vec()
}

/// Whether these are all bytes of an export, and none has changed. onnxruntime may loop without end in trees that
/// are damaged.
pub fn intact(onnx: &[u8]) -> bool {
    let length = checksum(&[]).len();
    onnx.split_at_checked(onnx.len().saturating_sub(length))
        .is_some_and(|(model, end)| end == checksum(model))
}
