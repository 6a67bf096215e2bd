//! The description of the API.

use expect_test::expect_file;
use headsup_api::openapi;
use serde_json::Value;

use super::server::Server;

/// `UPDATE_EXPECT=1 cargo test -p headsup-api description` writes it anew.
#[test]
fn it_is_the_one_in_docs() {
    expect_file!["../../../../docs/openapi.json"].assert_eq(&openapi());
}

#[tokio::test]
async fn everything_that_is_described_is_there() {
    let server = Server::start().await;
    let description: Value = server.get("/v1/openapi.json").await.is_ok();
    let mut count = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            count += 1;
            let path = path.replace("{id}", "nobody");
            let answer = server.send(&method.to_uppercase(), &path, &[], b"").await;
            let expected = if operation["security"].is_array() { 401 } else { 200 };
            assert_eq!(answer.status, expected, "{method} {path}");
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{path}");
        }
    }
    assert_eq!(count, 13);
}

#[test]
fn every_field_is_described() {
    let description: Value = serde_json::from_str(&openapi()).unwrap();
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_told = schema["description"].is_string() || schema["oneOf"].is_array();
            assert!(is_told, "{name}.{field}");
        }
    }
}
