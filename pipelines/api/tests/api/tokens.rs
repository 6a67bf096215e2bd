//! Who is let in.

use expect_test::expect;
use headsup_api::{Limits, Options, Scope, Tokens, new_token};
use serde_json::Value;

use super::server::{Server, options, token};

const ROUTES: [(&str, &str, &str); 12] = [
    ("GET", "/v1/customers/c-1/risk", "read"),
    ("GET", "/v1/scores", "read"),
    ("GET", "/v1/kpis", "read"),
    ("GET", "/v1/alerts", "read"),
    ("GET", "/v1/tasks", "read"),
    ("GET", "/v1/tasks/late%2F1", "read"),
    ("POST", "/v1/tasks/late%2F1/offer", "act"),
    ("POST", "/v1/tasks/late%2F1/accept", "act"),
    ("POST", "/v1/tasks/late%2F1/reject", "act"),
    ("POST", "/v1/tasks/late%2F1/complete", "act"),
    ("POST", "/v1/tasks/late%2F1/cancel", "act"),
    ("POST", "/v1/events", "ingest"),
];

#[tokio::test]
async fn everything_needs_a_token_of_its_scope() {
    let (_, file) = token("nobody", &Scope::ALL);
    let of = Scope::ALL.map(|scope| (scope.name(), token(scope.name(), &[scope])));
    let files: String = of.iter().map(|(_, (_, file))| file.as_str()).chain([&*file]).collect();
    let (mut options, _) = options();
    options.tokens = Some(Tokens::parse("tokens.toml", &files).unwrap());
    let server = Server::start_with(options, String::new(), Limits::default()).await;
    for (method, path, scope) in ROUTES {
        let missing = server.send(method, path, &[], b"").await;
        missing.is_problem(401, "token");
        assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"headsup\""));
        for (name, (token, _)) in &of {
            let answer =
                server.send(method, path, &[("Authorization", &format!("bearer {token}"))], b"").await;
            if *name == scope {
                assert!(!matches!(answer.status, 401 | 403), "{path}: {answer:?}");
            } else {
                answer.is_problem(403, "scope");
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.ends_with(&format!("error=\"insufficient_scope\", scope=\"{scope}\"")));
            }
        }
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused() {
    let server = Server::start().await;
    let token = &server.all;
    let cut = &token[..token.len() - 1];
    for value in [
        "Bearer hup_",
        "Bearer \u{e9}",
        &format!("Bearer {cut}"),
        &format!("Bearer {token}x"),
        &format!("Bearer {}", token.to_uppercase()),
        &format!("Bearer {token}, Bearer {token}"),
    ] {
        let answer = server.send("GET", "/v1/scores", &[("Authorization", value)], b"").await;
        answer.is_problem(401, "token");
        assert!(answer.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
        assert!(!answer.body.contains("hup_"));
    }
    for value in ["", "Bearer", "Bearer ", &format!("Basic {token}"), token] {
        server.send("GET", "/v1/scores", &[("Authorization", value)], b"").await.is_problem(401, "token");
    }
    let right = format!("Bearer {token}");
    let twice = [("Authorization", &*right), ("Authorization", &*right)];
    server.send("GET", "/v1/scores", &twice, b"").await.is_problem(401, "token");
    server.send("GET", &format!("/v1/scores?access_token={token}"), &[], b"").await.is_problem(401, "token");
}

#[tokio::test]
async fn a_token_expires() {
    let (mut options, _) = options();
    let at = |name: &str, time: &str| new_token(name, &[Scope::Read], Some(time.parse().unwrap())).unwrap();
    let (old, new) = (at("old", "2020-01-01T00:00:00Z"), at("new", "9000-01-01T00:00:00Z"));
    options.tokens = Some(Tokens::parse("tokens.toml", &format!("{}{}", old.entry, new.entry)).unwrap());
    let server = Server::start_with(options, old.token, Limits::default()).await;
    let answer = server.get("/v1/scores").await;
    answer.is_problem(401, "token");
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"));
    let new = format!("Bearer {}", new.token);
    server.send("GET", "/v1/scores", &[("Authorization", &new)], b"").await.is_ok();
}

#[tokio::test]
async fn without_tokens_nobody_is_let_in_and_told_why() {
    let server = Server::start_with(Options::default(), "hup_x".to_owned(), Limits::default()).await;
    for (method, path, _) in ROUTES {
        let token = [("Authorization", "Bearer hup_x")];
        let answer = server.send(method, path, &token, b"").await;
        answer.is_problem(401, "token");
        assert!(answer.json()["detail"].as_str().unwrap().contains("make one"));
    }
    let description: Value = server.send("GET", "/v1/openapi.json", &[], b"").await.is_ok();
    assert_eq!(description["openapi"], "3.1.0");
}

#[test]
fn a_new_token_is_random_and_read_back() {
    let expires = "2027-01-01T00:00:00Z".parse().unwrap();
    let one = new_token("the \"router\"\n", &[Scope::Read, Scope::Act], Some(expires)).unwrap();
    let other = new_token("other", &[Scope::Ingest], None).unwrap();
    assert_ne!(one.token, other.token);
    assert_eq!((one.token.len(), &one.token[..4]), (4 + 43, "hup_"));
    assert!(!one.entry.contains(&one.token));
    assert!(Tokens::parse("t", &one.entry).unwrap_err().message.contains("control characters"));
    let one = new_token("the \"router\"", &[Scope::Read, Scope::Act], Some(expires)).unwrap();
    let tokens = Tokens::parse("t", &format!("{}\n{}", one.entry, other.entry)).unwrap();
    let [router, producer] = tokens.all() else { panic!("{tokens:?}") };
    assert_eq!((router.name.as_str(), router.expires), ("the \"router\"", Some(expires)));
    assert_eq!(
        (&router.scopes[..], &producer.scopes[..]),
        (&[Scope::Read, Scope::Act][..], &[Scope::Ingest][..])
    );
}

#[test]
fn mistakes_of_the_file_are_told_with_their_line() {
    let hash = "ab".repeat(32);
    let entry = |name: &str, hash: &str, rest: &str| {
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{rest}\n")
    };
    let read = "scopes = [\"read\"]";
    let files = [
        String::new(),
        "[[token]]\nname = ".to_owned(),
        "[[token]]\nname = \"a\"\n".to_owned(),
        entry("a", &hash, "scopes = [\"read\"]\nscope = 1"),
        entry("a", "abc", read),
        entry("a", &"é".repeat(32), read),
        entry("a", &hash, "scopes = []"),
        entry("a", &hash, "scopes = [\n  \"read\",\n  \"write\",\n]"),
        entry("", &hash, read),
        entry("a", &hash, "scopes = [\"read\"]\nexpires = \"soon\""),
        entry("a", &hash, "scopes = [\"read\"]\nexpires = 2027-01-01"),
        entry("a", &hash, "scopes = [\"read\"]\nexpires = 7"),
        entry("a", &hash, read) + &entry("a", &"cd".repeat(32), read),
        entry("a", &hash, read) + &entry("b", &hash.to_uppercase(), read),
    ];
    let told: Vec<String> =
        files.iter().map(|file| Tokens::parse("tokens.toml", file).unwrap_err().to_string()).collect();
    expect![[r#"
        tokens.toml:1: there is no [[token]]; make one, see docs/api.md, Tokens
        tokens.toml:2: string values must be quoted, expected literal string; see docs/api.md, Tokens
        tokens.toml:1: missing field `sha256`; see docs/api.md, Tokens
        tokens.toml:5: unknown field `scope`, expected one of `name`, `sha256`, `scopes`, `expires`; see docs/api.md, Tokens
        tokens.toml:3: sha256 is not the SHA-256 of a token, 64 hexadecimal digits
        tokens.toml:3: sha256 is not the SHA-256 of a token, 64 hexadecimal digits
        tokens.toml:4: scopes is empty; name some of ingest, read and act
        tokens.toml:6: there is no scope "write"; there are ingest, read and act
        tokens.toml:2: name is empty or has control characters
        tokens.toml:5: expires is not a time with an offset, such as 2027-01-01T00:00:00Z
        tokens.toml:5: expires is not a time with an offset, such as 2027-01-01T00:00:00Z
        tokens.toml:5: expires is not a time with an offset, such as 2027-01-01T00:00:00Z
        tokens.toml:6: there are two tokens "a"; give each its own name
        tokens.toml:7: the hash is that of "a"; make a token for each"#]].assert_eq(&told.join("\n"));
}
