//! Lists KPIs, feature views, labels and models for the binary, so that a new one is a new file.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a build that panics has failed, as it should")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    list("sql/kpis", "sql", "kpis.rs");
    list("features", "sql", "features.rs");
    list("sql/labels", "sql", "labels.rs");
    list("models", "toml", "models.rs");
    // XGBoost, and what it needs itself, is where it was at compile time.
    if let (Ok(_), Ok(folder)) = (env::var("CARGO_FEATURE_TRAIN"), env::var("XGBOOST_LIB_DIR")) {
        println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,{folder}");
        println!("cargo::rerun-if-env-changed=XGBOOST_LIB_DIR");
    }
}

/// Writes names and texts of a folder's files of a kind as an expression.
fn list(folder: &str, kind: &str, as_file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("it is part of the source")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == kind))
        // Cargo.toml is no model, nor is the dictionary of reasons.
        .filter(|path| !path.ends_with("Cargo.toml") && !path.ends_with("reasons.toml"))
        .collect();
    files.sort();
    let mut list = String::from("[\n");
    for file in files {
        let name = file.file_stem().expect("a file").to_string_lossy().into_owned();
        let path = fs::canonicalize(&file).expect("just listed");
        writeln!(list, "    ({name:?}, include_str!({path:?})),").expect("a string takes all");
    }
    list.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo"));
    fs::write(out.join(as_file), list).expect("the build folder is writable");
}
