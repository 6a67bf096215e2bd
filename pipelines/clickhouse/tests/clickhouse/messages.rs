//! What is said when it cannot be.

use std::time::Duration;

use headsup_clickhouse::{Password, Server, ServerOptions, migrate, status};
use headsup_clickhouse_engine::{Kind, Server as Engine};

use crate::fixture::{Files, contacts, each, follow, follower_options, options, server};

fn refused(options: ServerOptions) -> String {
    let server = match Server::new(options) {
        Ok(server) => server,
        Err(error) => return error.to_string(),
    };
    server.version().expect_err("it cannot be").to_string()
}

fn nowhere() -> ServerOptions {
    ServerOptions {
        url: "http://127.0.0.1:1".to_owned(),
        database: "headsup".to_owned(),
        user: "default".to_owned(),
        password: Password::default(),
        timeout: Duration::from_secs(5),
    }
}

#[test]
fn addresses_and_names_that_cannot_be() {
    let message = refused(nowhere());
    assert!(message.starts_with("cannot reach ClickHouse at http://127.0.0.1:1: "), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
    let message = refused(ServerOptions { url: "http://no.such.host.invalid:8123".to_owned(), ..nowhere() });
    assert!(
        message.starts_with("cannot reach ClickHouse at http://no.such.host.invalid:8123: "),
        "{message}"
    );
    let message = refused(ServerOptions { url: "127.0.0.1:8123".to_owned(), ..nowhere() });
    assert!(message.contains("expected an address such as \"http://127.0.0.1:8123\""), "{message}");
    let message = refused(ServerOptions { database: "a`b".to_owned(), ..nowhere() });
    assert!(message.contains("\"a`b\" cannot be clickhouse.database"), "{message}");
}

#[test]
fn a_server_that_never_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let message = refused(ServerOptions { url, timeout: Duration::from_secs(1), ..nowhere() });
    assert!(message.contains("has not answered within 1 s while asked to ask for the version"), "{message}");
}

#[test]
fn the_password_is_used_and_never_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(engine) = Engine::start(Kind::Old, folder.path(), "serves_the_engine") else {
        return;
    };
    let with = |user: &str, password: &str| ServerOptions {
        user: user.to_owned(),
        password: Password::new(password),
        ..options(&engine)
    };
    let right = with("headsup", Engine::PASSWORD);
    assert!(!format!("{right:?}").contains(Engine::PASSWORD));
    let server = Server::new(right).expect("options");
    assert_eq!(server.version().expect("let in"), "18.16.1");
    assert!(!format!("{server:?}").contains(Engine::PASSWORD));
    for (user, password) in [("headsup", "wrong-one"), ("nobody", "wrong-one")] {
        let message = refused(with(user, password));
        assert!(
            message.contains(&format!("does not let user \"{user}\" in; check clickhouse.user")),
            "{message}"
        );
        assert!(!message.contains("wrong-one"), "{message}");
    }
}

#[test]
fn a_database_that_is_missing_or_not_migrated() {
    each(|engine, folder| {
        let message = status(&server(engine), folder).expect_err("nothing there").to_string();
        assert!(
            message.contains("has no database headsup; `headsup clickhouse migrate` makes it"),
            "{message}"
        );
        // A run goes on without, and says so.
        let data = folder.join("data");
        let mut store = Files::of(&data);
        store.append("facts/contacts", "ended_at", &contacts(0, 3));
        store.append("kpi_history/new", "ended_at", &contacts(0, 3));
        let follower = follow(follower_options(engine, &data));
        follower.completed(store.next).expect("listed");
        let error = follower.finish(Duration::from_secs(1)).expect_err("no database").to_string();
        assert!(error.contains("2 files"), "{error}");
        assert!(error.contains("`headsup clickhouse migrate` makes it"), "{error}");
        // A KPI that came after the last migration.
        migrate(&server(engine), &[]).expect("migrated");
        let follower = follow(follower_options(engine, &data));
        follower.completed(store.next).expect("listed");
        let error = follower.finish(Duration::from_secs(2)).expect_err("no table").to_string();
        assert!(
            error.contains("database headsup has no table rows_kpi_new; `headsup clickhouse migrate` brings"),
            "{error}"
        );
    });
}
