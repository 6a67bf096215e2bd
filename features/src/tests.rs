use super::*;

#[test]
fn the_views_that_come_with_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let views = files.iter().map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        View::parse(&format!("features/{name}.sql"), &name, &std::fs::read_to_string(path).unwrap(), &[])
    });
    let views: Vec<View> = views.collect::<Result<_, _>>().unwrap();
    let definitions = match Definitions::features(views) {
        Ok(definitions) => definitions,
        Err(mistakes) => panic!("{}", mistakes.iter().map(|m| format!("{m}\n")).collect::<String>()),
    };
    assert!(definitions.columns().len() > 100, "{}", definitions.columns().len());
    for name in ["order_return", "churn"] {
        let path = format!("{folder}/../sql/labels/{name}.sql");
        let text = std::fs::read_to_string(&path).unwrap();
        let view = View::parse(&path, name, &text, &[("lead_ms", 1), ("horizon_ms", 2)]).unwrap();
        Definitions::label(view).unwrap();
    }
}
