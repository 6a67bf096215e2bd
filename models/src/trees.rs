//! A forest of regression trees in our own form: read from XGBoost's model, averaged over folds,
//! evaluated, explained (TreeSHAP), and what `onnx.rs` writes.

use serde::{Deserialize, Serialize};

/// Why a forest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON of the expected shape.
    #[error("the {what} cannot be read: {source}; it is damaged or of another version: train again")]
    Json {
        /// Which kind of file.
        what: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A model of a kind that is not supported.
    #[error("the XGBoost model has {0}; only `binary:logistic` with gbtree and numeric splits is supported")]
    Kind(String),
    /// Arrays that contradict one another.
    #[error("tree {tree} of the {what}: {why}; it is damaged: train again")]
    Tree {
        /// Which kind of file.
        what: &'static str,
        /// Its number, from 0.
        tree: usize,
        /// What is wrong.
        why: String,
    },
    /// Forests that have no mean.
    #[error("forests of different features cannot be averaged: train them on the same columns")]
    Mean,
}

/// One tree, its nodes in preorder: the root is 0 and children follow their parent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The child for `x < threshold`, 0 at a leaf.
    pub left: Vec<u32>,
    /// The other child, 0 at a leaf.
    pub right: Vec<u32>,
    /// Which column is compared, 0 at a leaf.
    pub feature: Vec<u32>,
    /// The threshold, 0 at a leaf.
    pub threshold: Vec<f32>,
    /// Where NaN goes.
    pub default_left: Vec<bool>,
    /// The leaf's value, 0 at a split.
    pub leaf: Vec<f32>,
    /// The sum of hessians that reached the node in training.
    pub cover: Vec<f32>,
}

/// Trees whose leaves add up, over `base_margin`, to the log-odds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    /// The names of the columns, in order.
    pub features: Vec<String>,
    /// The margin before any tree.
    pub base_margin: f32,
    /// The trees.
    pub trees: Vec<Tree>,
}

#[derive(Deserialize)]
struct Model {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    feature_names: Vec<String>,
    gradient_booster: Booster,
    learner_model_param: Param,
    objective: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Param {
    base_score: String,
    num_feature: String,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    model: Option<Trees>,
}

#[derive(Deserialize)]
struct Trees {
    trees: Vec<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    left_children: Vec<i32>,
    right_children: Vec<i32>,
    split_indices: Vec<u32>,
    split_conditions: Vec<f32>,
    default_left: Vec<u8>,
    sum_hessian: Vec<f32>,
    #[serde(default)]
    split_type: Vec<u8>,
}

const XGBOOST: &str = "XGBoost model";
const FOREST: &str = "forest";

impl Forest {
    /// From the bytes of a model that XGBoost saved as JSON.
    ///
    /// # Errors
    /// It is damaged, or of a kind that is not supported.
    pub fn from_xgboost(json: &[u8]) -> Result<Self, Error> {
        let what = XGBOOST;
        let Model { learner } =
            serde_json::from_slice(json).map_err(|source| Error::Json { what, source })?;
        if learner.objective.name != "binary:logistic" {
            return Err(Error::Kind(format!("the objective `{}`", learner.objective.name)));
        }
        let Some(model) =
            learner.gradient_booster.model.filter(|_| learner.gradient_booster.name == "gbtree")
        else {
            return Err(Error::Kind(format!("the booster `{}`", learner.gradient_booster.name)));
        };
        let Param { base_score, num_feature } = learner.learner_model_param;
        let base = base_score.trim_matches(['[', ']']).parse::<f32>().ok().filter(|&p| p > 0.0 && p < 1.0);
        let base = base.ok_or_else(|| Error::Kind(format!("the base_score `{base_score}`")))?;
        let features = if learner.feature_names.is_empty() {
            let n: usize =
                num_feature.parse().map_err(|_| Error::Kind(format!("`{num_feature}` features")))?;
            (0..n).map(|i| format!("f{i}")).collect()
        } else {
            learner.feature_names
        };
        let mut trees = Vec::with_capacity(model.trees.len());
        for (tree, raw) in model.trees.iter().enumerate() {
            if raw.split_type.iter().any(|&t| t != 0) {
                return Err(Error::Kind("splits by category".into()));
            }
            trees.push(raw.tree().map_err(|why| Error::Tree { what, tree, why })?);
        }
        Self { features, base_margin: -(1.0 / base - 1.0).ln(), trees }.checked(what)
    }

    /// From the bytes that [`Forest::to_bytes`] gave.
    ///
    /// # Errors
    /// They are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let what = FOREST;
        let forest: Self = serde_json::from_slice(bytes).map_err(|source| Error::Json { what, source })?;
        forest.checked(what)
    }

    /// The same forest gives the same bytes.
    ///
    /// # Errors
    /// None is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|source| Error::Json { what: FOREST, source })
    }

    /// What evaluation relies on: arrays of one length, children after their parent, known columns.
    fn checked(self, what: &'static str) -> Result<Self, Error> {
        for (tree, t) in self.trees.iter().enumerate() {
            let n = t.left.len();
            let lengths =
                [t.right.len(), t.feature.len(), t.threshold.len(), t.default_left.len(), t.leaf.len()];
            let fault = if n == 0 || lengths.iter().chain([&t.cover.len()]).any(|&l| l != n) {
                Some("its arrays differ in length".to_owned())
            } else {
                (0..n).find_map(|i| {
                    let child = |c: u32| c as usize > i && (c as usize) < n;
                    let split = child(t.left[i])
                        && child(t.right[i])
                        && (t.feature[i] as usize) < self.features.len();
                    let leaf = t.left[i] == 0 && t.right[i] == 0;
                    // A child may have no cover in training, a split that is passed on must have one.
                    let covered = leaf || t.cover[i] > 0.0;
                    (!(leaf || split) || !covered)
                        .then(|| format!("node {i} has no valid children, column or cover"))
                })
            };
            if let Some(why) = fault {
                return Err(Error::Tree { what, tree, why });
            }
        }
        Ok(self)
    }

    /// The mean of several forests, as one.
    ///
    /// # Errors
    /// There are none, or their features differ.
    pub fn concat(forests: &[Self]) -> Result<Self, Error> {
        let first = forests.first().ok_or(Error::Mean)?;
        if forests.iter().any(|f| f.features != first.features) {
            return Err(Error::Mean);
        }
        let n = forests.len() as f32;
        let mut trees: Vec<Tree> = forests.iter().flat_map(|f| f.trees.iter().cloned()).collect();
        trees.iter_mut().flat_map(|t| &mut t.leaf).for_each(|leaf| *leaf /= n);
        let base_margin = forests.iter().map(|f| f.base_margin).sum::<f32>() / n;
        Ok(Self { features: first.features.clone(), base_margin, trees })
    }

    /// The log-odds of a row, which has a value (or NaN) for every column.
    pub fn margin(&self, row: &[f32]) -> f32 {
        self.trees.iter().fold(self.base_margin, |sum, tree| sum + tree.leaf[tree.reach(row)])
    }

    /// What every column adds to the margin of a row, then the expected margin: they sum up to
    /// the margin. Exact path-dependent TreeSHAP (Lundberg et al. 2018, Algorithm 2).
    pub fn contributions(&self, row: &[f32]) -> Vec<f64> {
        let mut phi = vec![0.0; self.features.len()];
        let (mut path, mut margin) = (Vec::new(), f64::from(self.base_margin));
        for tree in &self.trees {
            Walk { tree, row, phi: &mut phi, path: &mut path }.visit(0, 0, 1.0, 1.0, None);
            path.clear();
            margin += f64::from(tree.leaf[tree.reach(row)]);
        }
        phi.push(margin - phi.iter().sum::<f64>());
        phi
    }
}

impl Raw {
    /// In preorder, without the nodes that pruning left behind.
    fn tree(&self) -> Result<Tree, String> {
        let n = self.left_children.len();
        let lengths = [self.right_children.len(), self.split_indices.len(), self.split_conditions.len()];
        if lengths.iter().chain([&self.default_left.len(), &self.sum_hessian.len()]).any(|&l| l != n) {
            return Err("its arrays differ in length".into());
        }
        let mut tree = Tree::default();
        // A node, and the parent whose right child it is.
        let mut open = vec![(0, None::<usize>)];
        while let Some((node, right_of)) = open.pop() {
            let at = tree.left.len();
            let Some(i) = usize::try_from(node).ok().filter(|&i| i < n && at < n) else {
                return Err(format!("node {node} does not exist, or comes twice"));
            };
            if let Some(parent) = right_of {
                tree.right[parent] = at as u32;
            }
            let leaf = self.left_children[i] == -1;
            let value = self.split_conditions[i];
            tree.left.push(if leaf { 0 } else { at as u32 + 1 });
            tree.right.push(0);
            tree.feature.push(if leaf { 0 } else { self.split_indices[i] });
            tree.threshold.push(if leaf { 0.0 } else { value });
            tree.default_left.push(!leaf && self.default_left[i] != 0);
            tree.leaf.push(if leaf { value } else { 0.0 });
            tree.cover.push(self.sum_hessian[i]);
            if !leaf {
                open.push((self.right_children[i], Some(at)));
                open.push((self.left_children[i], None));
            }
        }
        Ok(tree)
    }
}

/// A column on the way to a leaf: the share of the cover that goes on with it unknown (`zero`),
/// whether the row does (`one`, 1 or 0), and the weight of the subsets of each size.
#[derive(Clone, Copy)]
struct Step {
    feature: Option<u32>,
    zero: f64,
    one: f64,
    weight: f64,
}

fn extend(path: &mut [Step]) {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[depth];
    path[depth].weight = if depth == 0 { 1.0 } else { 0.0 };
    let size = path.len() as f64;
    for i in (0..depth).rev() {
        let weight = path[i].weight / size;
        path[i + 1].weight += one * weight * (i + 1) as f64;
        path[i].weight = zero * weight * (depth - i) as f64;
    }
}

/// The weights as if step `at` had not been taken, each passed to `each` with its place.
fn unwind(path: &mut [Step], at: usize, mut each: impl FnMut(&mut Step, f64)) {
    let (Step { zero, one, .. }, size, depth) = (path[at], path.len() as f64, path.len() - 1);
    let mut next = path[depth].weight * size;
    for (i, step) in path[..depth].iter_mut().enumerate().rev() {
        let weight =
            if one == 0.0 { step.weight * size / (zero * (depth - i) as f64) } else { next / (i + 1) as f64 };
        next = step.weight * size - weight * zero * (depth - i) as f64;
        each(step, weight);
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f32],
    phi: &'a mut [f64],
    /// The paths to the nodes from the root to the one visited, one after another.
    path: &'a mut Vec<Step>,
}

impl Walk<'_> {
    /// Of a node whose parent's path has been copied to `path[start..]`.
    fn visit(&mut self, node: usize, start: usize, zero: f64, one: f64, feature: Option<u32>) {
        let Self { tree, row, .. } = *self;
        self.path.push(Step { feature, zero, one, weight: 0.0 });
        let path = &mut self.path[start..];
        extend(path);
        if tree.left[node] == 0 {
            let (leaf, mut without) = (f64::from(tree.leaf[node]), None);
            for at in 1..path.len() {
                let Step { feature: Some(feature), zero, one, .. } = path[at] else { continue };
                // All that the row does not follow add the same.
                let share = match without.filter(|_| one == 0.0) {
                    Some(share) => share,
                    None => {
                        let mut sum = 0.0;
                        unwind(path, at, |_, weight| sum += weight);
                        sum * (one - zero)
                    }
                };
                if one == 0.0 {
                    without = Some(share);
                }
                self.phi[feature as usize] += share * leaf;
            }
            return;
        }
        let feature = tree.feature[node];
        let (mut zero, mut one) = (1.0, 1.0);
        if let Some(at) = path.iter().position(|step| step.feature == Some(feature)) {
            (zero, one) = (path[at].zero, path[at].one);
            unwind(path, at, |step, weight| step.weight = weight);
            for i in at..path.len() - 1 {
                path[i] = Step { weight: path[i].weight, ..path[i + 1] };
            }
            self.path.pop();
        }
        let (end, hot) = (self.path.len(), tree.child(node, row));
        let cold = (tree.left[node] + tree.right[node]) as usize - hot;
        for (child, one) in [(hot, one), (cold, 0.0)] {
            let zero = zero * f64::from(tree.cover[child]) / f64::from(tree.cover[node]);
            // Nothing leads to a child without cover unless the row does.
            if zero > 0.0 || one > 0.0 {
                self.path.extend_from_within(start..end);
                self.visit(child, end, zero, one, Some(feature));
                self.path.truncate(end);
            }
        }
    }
}

impl Tree {
    fn child(&self, node: usize, row: &[f32]) -> usize {
        let x = row[self.feature[node] as usize];
        let left = if x.is_nan() { self.default_left[node] } else { x < self.threshold[node] };
        (if left { self.left[node] } else { self.right[node] }) as usize
    }

    fn reach(&self, row: &[f32]) -> usize {
        let mut node = 0;
        while self.left[node] != 0 {
            node = self.child(node, row);
        }
        node
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]
    use super::*;

    /// a < 1 ? 10 : (b < 1 ? 20 : 40), half of the cover each way.
    fn forest() -> Forest {
        let tree = Tree {
            left: vec![1, 0, 3, 0, 0],
            right: vec![2, 0, 4, 0, 0],
            feature: vec![0, 0, 1, 0, 0],
            threshold: vec![1.0, 0.0, 1.0, 0.0, 0.0],
            default_left: vec![true, false, false, false, false],
            leaf: vec![0.0, 10.0, 0.0, 20.0, 40.0],
            cover: vec![4.0, 2.0, 2.0, 1.0, 1.0],
        };
        Forest { features: vec!["a".into(), "b".into()], base_margin: 1.0, trees: vec![tree] }
    }

    #[test]
    fn goes_left_below_the_threshold_and_by_default_for_nan() {
        let margin = |a, b| forest().margin(&[a, b]);
        assert_eq!((margin(0.9, 0.0), margin(1.0, 0.0), margin(1.0, 1.0)), (11.0, 21.0, 41.0));
        assert_eq!((margin(f32::NAN, 0.0), margin(2.0, f32::NAN)), (11.0, 41.0));
    }

    #[test]
    fn contributions_are_shapley_values() {
        // v() = 20, v(a) = 30, v(b) = 10 / 2 + 40 / 2 = 25, v(a, b) = 40.
        let phi = forest().contributions(&[2.0, 2.0]);
        assert_eq!(phi, [12.5, 7.5, 21.0]);
    }

    #[test]
    fn mean_bytes_and_damage() {
        let mut other = forest();
        other.base_margin = 3.0;
        let mean = Forest::concat(&[forest(), other.clone()]).unwrap();
        assert_eq!(mean.margin(&[2.0, 0.0]), 22.0);
        assert_eq!(Forest::from_bytes(&mean.to_bytes().unwrap()).unwrap(), mean);
        other.features.pop();
        assert!(Forest::concat(&[forest(), other.clone()]).is_err());
        assert!(Forest::from_bytes(&other.to_bytes().unwrap()).is_err());
        other = forest();
        other.trees[0].left[2] = 1;
        assert!(Forest::from_bytes(&other.to_bytes().unwrap()).is_err());
        assert!(Forest::concat(&[]).is_err());
    }
}
