//! Following a store: nothing lost and nothing twice, whoever is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headsup_clickhouse::position::Position;
use headsup_clickhouse::{Error, Follower, FollowerOptions, Health};
use headsup_clickhouse_engine::Kind;

use crate::fixture::{Files, contacts, each, follow, follower_options, load, migrated};

const ONCE: &str = "SELECT count(), uniqExact(contact), min(contact), max(contact) FROM headsup.contacts";

fn until(follower: &Follower, what: &str, holds: impl Fn(&Health) -> bool) -> Health {
    let started = Instant::now();
    loop {
        let health = follower.health();
        if holds(&health) {
            return health;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{what}: {health:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn append(store: &mut Files, from: i64, rows: i64) {
    store.append("facts/contacts", "ended_at", &contacts(from, rows));
}

#[test]
fn a_file_that_is_loaded_twice_leaves_its_rows_once() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        append(&mut store, 0, 1_000);
        append(&mut store, 1_000, 500);
        load(follower_options(engine, &data), &store);
        assert_eq!(engine.say(ONCE), "1500\t1500\t0\t1499");
        // As if the process had been killed before it noted that the batch was loaded.
        let path = Position::path(&data, None);
        let noted = std::fs::read_to_string(&path).expect("noted");
        assert!(noted.contains("\"loaded\": 2"), "{noted}");
        std::fs::write(&path, noted.replace("\"loaded\": 2", "\"loaded\": 0")).expect("written");
        load(follower_options(engine, &data), &store);
        assert_eq!(engine.say(ONCE), "1500\t1500\t0\t1499");
        // Tokens keep a modern server from even taking them.
        let taken = engine.say("SELECT count() FROM headsup.rows_contacts");
        match engine.kind() {
            Kind::Modern => assert_eq!(taken, "1500"),
            Kind::Old => assert!(taken == "1500" || taken == "3000", "{taken}"),
        }
        // And in another batch, that tokens know nothing of.
        let before = noted.replace("\"loaded\": 2", "\"loaded\": 0").replace("\"until\": 2", "\"until\": 1");
        std::fs::write(&path, before).expect("written");
        load(follower_options(engine, &data), &store);
        assert_eq!(engine.say(ONCE), "1500\t1500\t0\t1499");
    });
}

#[test]
fn killed_and_started_again_nothing_is_lost_and_nothing_twice() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        let follower = follow(follower_options(engine, &data));
        let mut rows = 0;
        for round in 0..12 {
            for _ in 0..3 {
                append(&mut store, rows, 400);
                rows += 400;
            }
            follower.completed(store.next).expect("listed");
            match round {
                // In the middle of whatever it does.
                3 | 8 => engine.kill(),
                5 | 9 => {
                    let health = until(&follower, "it notices", |health| health.last_error.is_some());
                    assert!(health.behind_files > 0 && health.failing_for.is_some(), "{health:?}");
                    let error = health.last_error.unwrap_or_default();
                    assert!(error.contains("is it running, and is clickhouse.url right?"), "{error}");
                    engine.restart();
                }
                _ => {}
            }
        }
        follower.finish(Duration::from_secs(60)).expect("all is loaded");
        let health = follower.health();
        assert_eq!((health.behind_files, health.behind_bytes, health.last_error), (0, 0, None));
        assert!(health.failures > 0);
        assert_eq!(engine.say(ONCE), format!("{rows}\t{rows}\t0\t{}", rows - 1));
    });
}

#[test]
fn a_follower_that_is_gone_is_followed_by_another() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        let mut rows = 0;
        for round in 0..6_u32 {
            for _ in 0..5 {
                append(&mut store, rows, 100);
                rows += 100;
            }
            let follower = follow(follower_options(engine, &data));
            follower.completed(store.next).expect("listed");
            if round % 2 == 1 {
                until(&follower, "something is loaded", |health| health.rows > 0);
            }
            // It is dropped wherever it is, as a process is that ends.
        }
        load(follower_options(engine, &data), &store);
        assert_eq!(engine.say(ONCE), format!("{rows}\t{rows}\t0\t{}", rows - 1));
        assert_eq!(engine.say("SELECT uniqExact(generation) FROM headsup.generations"), "1");
    });
}

#[test]
fn a_full_spill_makes_the_writer_wait_and_nothing_else() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        append(&mut store, 0, 10);
        let bytes = headsup_clickhouse::files::list(&data, None, 0, 1).expect("listed")[0].bytes;
        let stop = Arc::new(AtomicBool::new(false));
        let options = FollowerOptions { spill_bytes_max: 3 * bytes, ..follower_options(engine, &data) };
        let follower = Follower::start(options, stop.clone()).expect("it starts");
        engine.kill();
        // Below the limit nobody waits.
        for from in [10, 20] {
            follower.completed(store.next).expect("listed");
            append(&mut store, from, 10);
        }
        follower.completed(store.next).expect("listed");
        assert!(!follower.health().full);
        // Above it, until there is room again.
        append(&mut store, 30, 10);
        append(&mut store, 40, 10);
        std::thread::scope(|scope| {
            let (next, follower) = (store.next, &follower);
            let waiting = scope.spawn(move || follower.completed(next));
            let health = until(follower, "it waits", |health| health.full);
            assert!(health.behind_bytes > 3 * bytes, "{health:?}");
            assert!(!waiting.is_finished());
            engine.restart();
            waiting.join().expect("no panic").expect("listed");
            assert!(!follower.health().full);
        });
        // And no longer than until the process is to end.
        engine.kill();
        append(&mut store, 50, 10);
        let before = follower.health();
        assert!(before.behind_bytes <= 3 * bytes, "{before:?}");
        for from in [60, 70, 80, 90] {
            append(&mut store, from, 10);
        }
        std::thread::scope(|scope| {
            let (next, follower) = (store.next, &follower);
            let waiting = scope.spawn(move || follower.completed(next));
            until(follower, "it waits", |health| health.full);
            stop.store(true, Ordering::Relaxed);
            waiting.join().expect("no panic").expect("listed");
        });
        let error = follower.finish(Duration::from_millis(10)).expect_err("it is not there");
        let Error::Unfinished { files, .. } = &error else { panic!("{error}") };
        assert!(*files >= 5, "{error}");
        assert!(error.to_string().contains("they are kept"), "{error}");
        engine.restart();
        load(follower_options(engine, &data), &store);
        assert_eq!(engine.say(ONCE), "100\t100\t0\t99");
    });
}

#[test]
fn an_emptied_database_is_filled_again_and_a_new_folder_is_a_new_generation() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        append(&mut store, 0, 50);
        let follower = follow(follower_options(engine, &data));
        follower.completed(store.next).expect("listed");
        until(&follower, "it is loaded", |health| health.rows == 50);
        engine.say("DROP DATABASE headsup");
        append(&mut store, 50, 50);
        follower.completed(store.next).expect("listed");
        let health = until(&follower, "it notices", |health| health.last_error.is_some());
        let error = health.last_error.unwrap_or_default();
        assert!(error.contains("`headsup clickhouse migrate`"), "{error}");
        migrated(engine);
        follower.finish(Duration::from_secs(60)).expect("all is loaded");
        assert_eq!(engine.say(ONCE), "100\t100\t0\t99");

        // The folder is removed, and another one begins with the same numbers.
        let other = folder.join("other");
        let mut store = Files::of(&other);
        append(&mut store, 1_000, 20);
        load(follower_options(engine, &other), &store);
        assert_eq!(engine.say(ONCE), "20\t20\t1000\t1019");
        let generations = "SELECT generation FROM headsup.generations FINAL ORDER BY generation";
        assert_eq!(engine.say(generations), "0\n1");
        // Another share stands beside it.
        let share = folder.join("share");
        let mut store = Files::tagged(&share, "part-2-of-2-");
        append(&mut store, 2_000, 5);
        load(FollowerOptions { tag: Some("2-of-2".to_owned()), ..follower_options(engine, &share) }, &store);
        assert_eq!(engine.say(ONCE), "25\t25\t1000\t2004");
    });
}
