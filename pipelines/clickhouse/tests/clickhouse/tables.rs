//! How tables come to be, and that rows come back as they went in.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use headsup_clickhouse::migrate::{MIGRATIONS, migrate_by};
use headsup_clickhouse::{KpiTable, Migrated, forget, migrate, prune, read_table, status};
use headsup_clickhouse_engine::Kind;
use headsup_connectors::store;
use headsup_operators::facts::Table;

use crate::fixture::{
    Files, contacts, each, facts, follower_options, kpi, kpi_rows, kpi_schema, load, migrated, quarantine,
    server,
};

#[test]
fn migrations_are_applied_once_and_must_stay_as_they_are() {
    each(|engine, folder| {
        let server = server(engine);
        let first = migrate(&server, &[kpi()]).expect("migrated");
        let all: Vec<String> = MIGRATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(first, Migrated { applied: all, made: vec!["aht".to_owned()], added: vec![] });
        assert_eq!(migrate(&server, &[kpi()]).expect("again"), Migrated::default());
        let tables = "SELECT count() FROM system.tables WHERE database = 'headsup' AND name LIKE 'rows_%'";
        assert_eq!(engine.say(tables), "15");

        let status = status(&server, folder).expect("asked");
        assert_eq!(status.migrations, (MIGRATIONS.len(), MIGRATIONS.len()));
        assert_eq!(status.positions, []);
        assert_eq!(status.version, engine.say("SELECT version()"));

        let refused = |migrations: &[(&str, &str)]| {
            migrate_by(&server, migrations, &[]).expect_err("refused").to_string()
        };
        let mut changed = MIGRATIONS.to_vec();
        changed[1].1 = "SELECT 1;\n";
        let message = refused(&changed);
        assert!(message.contains("migration 2 was applied as 0002_quarantine with hash"), "{message}");
        assert!(message.contains("put it into a new migration"), "{message}");
        let message = refused(&MIGRATIONS[..2]);
        assert!(
            message.contains("it has migration 3 (0003_outputs), which this headsup does not"),
            "{message}"
        );

        // One that is not noted any more.
        engine.say("CREATE TABLE headsup.kept AS headsup.headsup_migrations");
        engine.say("INSERT INTO headsup.kept SELECT * FROM headsup.headsup_migrations WHERE number <> 2");
        engine.say("DROP TABLE headsup.headsup_migrations");
        engine.say("RENAME TABLE headsup.kept TO headsup.headsup_migrations");
        let message = refused(MIGRATIONS);
        assert!(message.contains("migration 2 is not noted, but 3 (0003_outputs) is"), "{message}");
    });
}

#[test]
fn a_kpi_that_gains_a_value_gets_a_column_and_one_that_gains_a_key_is_told() {
    each(|engine, folder| {
        let server = migrated(engine);
        let mut store = Files::of(&folder.join("data"));
        let before = kpi_rows(&[(0, Some("a"), None, Some(1.5), 1)]);
        store.append("kpi_history/aht", "window_start", &before);
        load(follower_options(engine, &folder.join("data")), &store);

        let wider = |values: &[&str]| KpiTable { rows: kpi_schema(values), ..kpi() };
        let migrated = migrate(&server, &[wider(&["contacts", "aht_ms", "p90_ms"])]).expect("widened");
        assert_eq!(migrated.added, ["aht.p90_ms"]);
        let shown = "SELECT shop, contacts, aht_ms, p90_ms FROM headsup.kpi_aht";
        assert_eq!(engine.say(shown), "a\t0\t1.5\t\\N");
        // A value that is gone is no longer shown, and its column stays.
        let migrated = migrate(&server, &[wider(&["contacts"])]).expect("narrowed");
        assert_eq!(migrated, Migrated::default());
        let columns = "SELECT name FROM system.columns WHERE database = 'headsup' AND table = 'kpi_aht' AND name LIKE '%\\_ms'";
        assert_eq!(engine.say(columns), "");

        let refused = |kpi: KpiTable| migrate(&server, &[kpi]).expect_err("refused").to_string();
        let message = refused(KpiTable { key_count: 1, ..kpi() });
        assert!(message.contains("KPI aht is no longer grouped by score"), "{message}");
        assert!(message.contains("rename or drop headsup.rows_kpi_aht"), "{message}");
        let message = refused(KpiTable { key_count: 3, ..kpi() });
        assert!(message.contains("KPI aht is now also grouped by contacts"), "{message}");
        let mut fields = kpi().rows.fields().to_vec();
        let contacts = fields[5].as_ref().clone().with_data_type(arrow::datatypes::DataType::Float64);
        fields[5] = contacts.into();
        let retyped = arrow::datatypes::Schema::new(fields).into();
        let message = refused(KpiTable { rows: retyped, ..kpi() });
        assert!(message.contains("column contacts of rows_kpi_aht is Nullable(Int64)"), "{message}");
    });
}

#[test]
fn rows_come_back_to_the_bit() {
    each(|engine, folder| {
        migrated(engine);
        let data = folder.join("data");
        let mut store = Files::of(&data);
        for table in Table::ALL {
            for rows in [1, 500] {
                store.append(&format!("facts/{}", table.name()), table.event_time(), &facts(table, rows));
            }
        }
        store.append("quarantine", "known_at", &quarantine());
        load(follower_options(engine, &data), &store);
        for table in Table::ALL {
            let folder = format!("facts/{}", table.name());
            let schema = table.schema();
            let read = read_table(server(engine), &folder, schema.clone()).expect("a table");
            let read: Vec<RecordBatch> = read.collect::<Result<_, _>>().expect("rows");
            let kept: Vec<RecordBatch> =
                store::read_table(&data, &folder).expect("files").collect::<Result<_, _>>().expect("rows");
            let read = concat_batches(&schema, &read).expect("of one schema");
            let kept = concat_batches(&schema, &kept).expect("of one schema");
            assert_eq!(read.num_rows(), 501);
            assert_eq!(read, kept, "{}", table.name());
        }
        // As the server itself sees them: its count, its hash of bytes, its own arithmetic.
        let seen = "SELECT count(), countIf(shop = ''), countIf(isNull(shop)), countIf(shop = '退货') FROM headsup.ratings";
        let rows = facts(Table::Ratings, 500);
        let shops = rows.column_by_name("shop").expect("a column");
        let shops = arrow::array::AsArray::as_string_view(shops.as_ref());
        let count = |wanted: Option<&str>| shops.iter().filter(|shop| *shop == wanted).count();
        // And the first row, which is there twice.
        let one = |wanted: Option<&str>| count(wanted) + usize::from(shops.iter().next() == Some(wanted));
        assert_eq!(engine.say(seen), format!("501\t{}\t{}\t{}", one(Some("")), one(None), one(Some("退货"))));
        assert_eq!(
            engine.say("SELECT offset, hex(bytes), detail FROM headsup.quarantine ORDER BY offset"),
            "1\t6E6F74206A736F6E\t\n2\tFFFE00\t退\n3\t\tx"
        );
        let time = "SELECT toString(min(rated_at)) FROM headsup.ratings";
        match engine.kind() {
            Kind::Modern => assert_eq!(engine.say(time), "2026-01-01 00:00:00.000000"),
            Kind::Old => assert_eq!(engine.say(time), "1767225600000000"),
        }
    });
}

#[test]
fn the_highest_revision_of_the_newest_generation_is_shown() {
    each(|engine, folder| {
        migrated(engine);
        let shown = "SELECT shop, score, aht_ms, revision, final FROM headsup.kpi_aht ORDER BY window_start, grouped_by, shop, score";
        let data = folder.join("data");
        let mut store = Files::of(&data);
        let append = |store: &mut Files, rows: &[_]| {
            store.append("kpi_history/aht", "window_start", &kpi_rows(rows));
        };
        // NULL as a key and an empty text are two; so are NULL and 0.
        append(&mut store, &[(0, Some("a"), None, Some(1.0), 1), (0, Some(""), None, Some(2.0), 1)]);
        append(&mut store, &[(0, None, Some(0), Some(3.0), 1), (0, None, None, Some(4.0), 2)]);
        append(&mut store, &[(0, Some("a"), None, Some(1.25), 3), (0, None, None, Some(5.0), 1)]);
        append(&mut store, &[(0, Some("a"), None, Some(1.75), 2), (1, Some("a"), None, None, 1)]);
        load(follower_options(engine, &data), &store);
        let first =
            "\\N\t\\N\t4\t2\t1\n\\N\t0\t3\t1\t0\n\t\\N\t2\t1\t0\na\t\\N\t1.25\t3\t1\na\t\\N\t\\N\t1\t0";
        assert_eq!(engine.say(shown), first);

        // Computed anew, with a lower revision and without a window.
        std::fs::remove_dir_all(data.join("kpi_history")).expect("removed");
        let mut store = Files::of(&data);
        append(&mut store, &[(0, Some("a"), None, Some(9.0), 1)]);
        store.append("facts/contacts", "ended_at", &contacts(0, 3));
        let anew = headsup_clickhouse::FollowerOptions { generation: 1, ..follower_options(engine, &data) };
        load(anew, &store);
        assert_eq!(engine.say(shown), "a\t\\N\t9\t1\t0");
        assert_eq!(engine.say("SELECT count() FROM headsup.contacts"), "3");
        let kept = "SELECT generation, count() FROM headsup.rows_kpi_aht FINAL GROUP BY generation ORDER BY generation";
        assert_eq!(engine.say(kept), "0\t5\n1\t1");

        let server = server(engine);
        let all = "SELECT sum(rows) FROM system.parts WHERE database = 'headsup' AND active AND table = 'rows_kpi_aht'";
        let before: u64 = engine.say(all).parse().expect("a number");
        assert_eq!(prune(&server).expect("pruned"), before - 1);
        assert_eq!(engine.say(all), "1");
        assert_eq!(engine.say(shown), "a\t\\N\t9\t1\t0");
        assert_eq!(prune(&server).expect("nothing"), 0);
        forget(&server, "all").expect("forgotten");
        assert_eq!(engine.say(shown), "");
        let message = forget(&server, "1-of-2").expect_err("there is none").to_string();
        assert!(message.contains("has no share \"1-of-2\""), "{message}");
    });
}
