//! Lists the files of `sql/kpis/` for the binary, so that a new KPI is a new file.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a build that panics has failed, as it should")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/kpis");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("sql/kpis is part of the source")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
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
    fs::write(out.join("kpis.rs"), list).expect("the build folder is writable");
}
