//! Known answers: a few events, and what the KPIs that come with headsup say of them.

use std::sync::Arc;

use headsup_kpi::{Calendar, Kpi, Schedule, Settings};

use super::{kpis, run};

/// An event of conversation `c` at a time of 2026-03-02 (UTC), or of the date before a `T`.
fn event(c: &str, time: &str, kind: &str, data: &str) -> String {
    let time = if time.contains('T') { time.to_owned() } else { format!("2026-03-02T{time}") };
    let comma = if data.is_empty() || data.starts_with(',') { "" } else { "," };
    let (customer, c) = c.split_once('/').unwrap_or((c, c));
    format!(
        r#"{{"specversion":"1.0","id":"{c}-{time}-{kind}","source":"/test","type":"{kind}","subject":"{c}","time":"{time}Z","data":{{"customer_id":"{customer}","shop":"s","channel":"web"{comma}{data}}}}}"#
    )
}

fn talk(c: &str, script: &[(&str, &str)]) -> Vec<String> {
    let line = |&(time, what): &(&str, &str)| {
        let (kind, data) = match what {
            "asks" => ("message", r#""role":"customer""#),
            "replies" => ("message", r#""role":"agent","agent_id":"a""#),
            "auto" => ("message", r#""role":"agent","agent_id":"a","auto":true"#),
            "bot" => ("message", r#""role":"bot""#),
            "solved" => ("closed", r#""resolved":true"#),
            "unsolved" => ("closed", r#""resolved":false"#),
            "begins" => ("started", r#""origin":"inbound","entry":"queue""#),
            "bot begins" => ("started", r#""origin":"inbound","entry":"bot""#),
            "we begin" => ("started", r#""origin":"proactive","entry":"queue""#),
            "queued" => ("queued", r#""skill":"refund""#),
            "accepted" => ("accepted", r#""agent_id":"a""#),
            "held" => ("held", r#""agent_id":"a""#),
            "resumed" => ("resumed", r#""agent_id":"a""#),
            "wrapped" => ("wrapped", r#""agent_id":"a""#),
            "about size" => ("labelled", r#""intent":"product_question""#),
            "about money" => ("labelled", r#""intent":"refund_status""#),
            "happy" => ("rated", r#""score":5"#),
            other => (other, ""),
        };
        event(c, time, &format!("conversation.{kind}"), data)
    };
    script.iter().map(line).collect()
}

/// The final values of a KPI's windows that have the grouping, with `NULL`s.
fn values_with(kpis: &[Arc<Kpi>], name: &str, grouped_by: &str, events: &[String]) -> Vec<String> {
    let time = |line: &String| line.split(r#""time":""#).nth(1).map(str::to_owned);
    let mut events = events.to_vec();
    events.sort_by_key(time);
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let result = run(kpis, &[lines], 3);
    let kpi = kpis.iter().find(|kpi| kpi.name == name).expect("a KPI");
    let count = kpi.rows.fields().len() - 6 - kpi.key_count;
    let of = |row: &String| {
        let cells: Vec<&str> = row.split(' ').collect();
        let grouping = format!(" {grouped_by} ");
        (cells[0] == name && cells[3] == grouped_by && row.contains(&grouping))
            .then(|| cells[cells.len() - count..].join(" "))
    };
    result.rows.iter().filter_map(of).collect()
}

fn values(name: &str, grouped_by: &str, events: &[String]) -> Vec<String> {
    let kpis: Vec<_> = kpis().into_iter().filter(|kpi| kpi.name == name).collect();
    values_with(&kpis, name, grouped_by, events)
}

#[test]
fn service_level_by_every_formula() {
    let mut events = Vec::new();
    let mut customer = |count: usize, wait_ms: usize, end: &str| {
        for _ in 0..count {
            let c = format!("c{}", events.len());
            let at = |ms: usize| format!("10:{:02}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000);
            events.push(event(&c, &at(0), "conversation.queued", r#""skill":"x""#));
            let data = if end == "accepted" { r#""agent_id":"a""# } else { "" };
            events.push(event(&c, &at(wait_ms), &format!("conversation.{end}"), data));
            if end == "accepted" {
                events.push(event(&c, "10:02:10", "conversation.wrapped", r#""agent_id":"a""#));
            }
        }
    };
    customer(860, 30_000, "accepted");
    customer(140, 30_001, "accepted");
    customer(10, 5_000, "abandoned");
    customer(10, 5_001, "abandoned");
    customer(40, 30_001, "abandoned");
    let sql =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/kpis/service_level.sql"));
    let sql = sql.expect("readable").replace(
        "hop(ended_at, INTERVAL '1 minute', INTERVAL '5 minutes')",
        "tumble(ended_at, INTERVAL '1 hour')",
    );
    let kpi = Kpi::parse("service_level.sql", "service_level", &sql).unwrap_or_else(|e| panic!("{e}"));
    let rows = values_with(&[Arc::new(kpi)], "service_level", "", &events);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let cells: Vec<&str> = row.split(' ').collect();
    assert_eq!(cells[..2], ["1060", "860"]);
    let percent = |cell: &&str| format!("{:.1}", cell.parse::<f64>().expect("a number") * 100.0);
    // service_level, counted, ignored, excluded, short, long.
    let levels: Vec<String> = cells[2..].iter().map(percent).collect();
    assert_eq!(levels, ["81.1", "83.0", "86.0", "82.7", "82.1", "81.9"]);
}

#[test]
fn taobao_counts_rounds() {
    let asked = [("02:10:15", "asks"), ("02:15:20", "asks"), ("02:18:10", "replies")];
    assert_eq!(values("card_taobao", "shop", &talk("c", &asked)), ["1 0 0.0"]);
    let again = [&asked[..], &[("02:18:30", "asks"), ("02:19:00", "bot")]].concat();
    assert_eq!(values("card_taobao", "shop", &talk("c", &again)), ["2 1 0.5"]);
    let times: Vec<String> = (0..10).map(|n| format!("02:10:{n:02}")).collect();
    let ten: Vec<(&str, &str)> = times.iter().map(|time| (time.as_str(), "asks")).collect();
    assert_eq!(values("card_taobao", "shop", &talk("c", &ten)), ["1 0 0.0"]);
    // 07:59:59 in Beijing is before, and so is nothing of the day's last second.
    assert_eq!(
        values("card_taobao", "shop", &talk("c", &[("2026-03-01T23:59:59", "asks")])),
        Vec::<String>::new()
    );
    assert_eq!(
        values("card_taobao", "shop", &talk("c", &[("15:59:59", "asks"), ("16:00:01", "auto")])),
        ["1 1 1.0"]
    );
}

#[test]
fn douyin_counts_sessions_by_their_mean() {
    let human = [("02:00:00", "begins"), ("02:00:01", "queued"), ("02:00:02", "accepted")];
    // 5 min and 50 s: a mean of 2 min 55 s.
    let fine = [
        &human[..],
        &[
            ("02:01:00", "asks"),
            ("02:06:00", "replies"),
            ("02:07:00", "asks"),
            ("02:07:50", "replies"),
            ("02:09:00", "solved"),
        ],
    ]
    .concat();
    assert_eq!(values("card_douyin", "shop", &talk("c", &fine)), ["1 1 1.0"]);
    let slow =
        [&human[..], &[("02:01:00", "asks"), ("02:04:01", "replies"), ("02:09:00", "solved")]].concat();
    assert_eq!(values("card_douyin", "shop", &talk("c", &slow)), ["1 0 0.0"]);
    let never = [&human[..], &[("02:01:00", "asks"), ("02:09:00", "solved")]].concat();
    assert_eq!(values("card_douyin", "shop", &talk("c", &never)), ["1 0 0.0"]);
    // The bot alone is no session with a human.
    let bot = [("02:00:00", "bot begins"), ("02:01:00", "asks"), ("02:01:10", "bot"), ("02:09:00", "solved")];
    assert_eq!(values("card_douyin", "shop", &talk("c", &bot)), Vec::<String>::new());
}

#[test]
fn jd_leaves_out_the_night_and_returns() {
    let session = |c: &str, minute: u32, hour: u32, wait: u32| {
        let at = |s: u32| format!("{hour:02}:{:02}:{:02}", minute + s / 60, s % 60);
        let times = [at(0), at(1), at(2), at(2 + wait), at(120), at(121)];
        let what = ["asks", "queued", "accepted", "replies", "solved", "wrapped"];
        talk(c, &times.iter().map(String::as_str).zip(what).collect::<Vec<_>>())
    };
    // 08:56 in Beijing, replied at 09:01: begun in the night.
    let early = [
        ("00:56:00", "asks"),
        ("00:56:01", "queued"),
        ("00:57:00", "accepted"),
        ("01:01:00", "replies"),
        ("01:02:00", "solved"),
    ];
    assert_eq!(values("card_jd", "shop", &talk("c", &early)), Vec::<String>::new());
    assert_eq!(values("card_jd", "shop", &session("c", 10, 2, 20)), ["1 1 1.0"]);
    assert_eq!(values("card_jd", "shop", &session("c", 10, 2, 45)), ["1 0 0.0"]);
    // Back after 9 minutes: the same session; after 11 another one.
    let back = [session("u/c1", 10, 2, 20), session("u/c2", 21, 2, 45)].concat();
    assert_eq!(values("card_jd", "shop", &back), ["1 1 1.0"]);
    let back = [session("u/c1", 10, 2, 20), session("u/c2", 24, 2, 45)].concat();
    assert_eq!(values("card_jd", "shop", &back), ["2 1 0.5"]);
}

#[test]
fn pinduoduo_counts_days_of_customers() {
    let quick = talk("u/c1", &[("02:00:00", "asks"), ("02:10:00", "replies"), ("02:11:00", "solved")]);
    let slow = talk(
        "v/c2",
        &[("02:00:00", "asks"), ("02:00:01", "queued"), ("03:00:01", "replies"), ("03:01:00", "solved")],
    );
    assert_eq!(values("card_pinduoduo", "shop", &quick), ["1 0 1.0"]);
    assert_eq!(values("card_pinduoduo", "shop", &[quick.clone(), slow].concat()), ["2 1 0.5"]);
    // One message without a reply spoils the customer's day, whatever else was answered.
    let ignored = talk("u/c3", &[("05:00:00", "asks"), ("05:11:00", "unsolved")]);
    assert_eq!(values("card_pinduoduo", "shop", &[quick, ignored].concat()), ["1 1 0.0"]);
}

fn handled(c: &str, day: u32, hour: u32, about: &str, end: &str) -> Vec<String> {
    let times: Vec<String> =
        (0..6).map(|minute| format!("2026-03-{day:02}T{hour:02}:{minute:02}:00")).collect();
    let what = ["begins", "queued", "accepted", about, end, "wrapped"];
    talk(c, &times.iter().map(String::as_str).zip(what).collect::<Vec<_>>())
}

#[test]
fn what_is_repeated_was_not_resolved() {
    // closed, resolved, repeated, rate.
    let once = handled("u/c1", 2, 10, "about money", "solved");
    assert_eq!(values("fcr", "", &once), ["1 1 0 1.0"]);
    let again = [once.clone(), handled("u/c2", 3, 9, "about money", "solved")].concat();
    assert_eq!(values("fcr", "", &again), ["1 1 1 0.0", "1 1 0 1.0"]);
    // Another matter, another customer, or later than the horizon.
    let other = [once.clone(), handled("u/c2", 3, 9, "about size", "solved")].concat();
    assert_eq!(values("fcr", "", &other), ["1 1 0 1.0", "1 1 0 1.0"]);
    let another = [once.clone(), handled("v/c2", 3, 9, "about money", "solved")].concat();
    assert_eq!(values("fcr", "", &another), ["1 1 0 1.0", "1 1 0 1.0"]);
    let later = [once.clone(), handled("u/c2", 3, 11, "about money", "solved")].concat();
    assert_eq!(values("fcr", "", &later), ["1 1 0 1.0", "1 1 0 1.0"]);
    assert_eq!(values("fcr_3d", "", &later), ["1 1 1 0.0", "1 1 0 1.0"]);
    // What was not resolved cannot be repeated; a second repetition changes nothing.
    let unsolved =
        [handled("u/c1", 2, 10, "about money", "unsolved"), handled("u/c2", 2, 12, "about money", "solved")];
    assert_eq!(values("fcr", "", &unsolved.concat()), ["1 0 0 0.0", "1 1 0 1.0"]);
    let thrice = [again, handled("u/c3", 3, 9, "about money", "solved")].concat();
    assert_eq!(values("fcr", "", &thrice)[0], "1 1 1 0.0");
    // Reopened, the same conversation.
    let reopened =
        [once, talk("u/c1", &[("10:20:00", "reopened"), ("10:21:00", "about size"), ("10:22:00", "solved")])];
    assert_eq!(values("fcr", "", &reopened.concat()), ["2 2 1 0.5"]);
}

#[test]
fn the_bot_contains_what_does_not_come_back() {
    let bot = |c: &str, hour: &str| {
        let times: Vec<String> = (0..4).map(|minute| format!("{hour}:{minute:02}:00")).collect();
        let what = ["bot begins", "asks", "bot", "solved"];
        talk(c, &times.iter().map(String::as_str).zip(what).collect::<Vec<_>>())
    };
    assert_eq!(values("containment", "", &bot("u/c1", "10")), ["1 1 0 1.0"]);
    assert_eq!(
        values("containment", "", &[bot("u/c1", "10"), bot("u/c2", "12")].concat()),
        ["1 1 1 0.0", "1 1 0 1.0"]
    );
    let mut handed = bot("u/c1", "10");
    handed.insert(3, event("u/c1", "10:02:30", "conversation.handed_off", ""));
    assert_eq!(values("containment", "", &handed), ["1 0 0 0.0"]);
}

#[test]
fn who_asks_and_pays() {
    let paid = |customer: &str, at: &str| event(&format!("{customer}/o-{at}"), at, "order.paid", "");
    let asks = |c: &str, day: u32| handled(c, day, 10, "about size", "solved");
    // asked, paid within a day, rate, within four days, rate.
    assert_eq!(values("conversion", "", &asks("u/c1", 2)), ["1 0 0.0 0 0.0"]);
    // Even before the contact is over; not before it began.
    let during = [asks("u/c1", 2), vec![paid("u", "2026-03-02T10:03:00")]].concat();
    assert_eq!(values("conversion", "", &during), ["1 1 1.0 1 1.0"]);
    let before = [asks("u/c1", 2), vec![paid("u", "2026-03-02T09:59:59")]].concat();
    assert_eq!(values("conversion", "", &before), ["1 0 0.0 0 0.0"]);
    let later = [asks("u/c1", 2), vec![paid("u", "2026-03-04T10:00:00")]].concat();
    assert_eq!(values("conversion", "", &later), ["1 0 0.0 1 1.0"]);
    let too_late = [asks("u/c1", 2), vec![paid("u", "2026-03-06T10:00:01")]].concat();
    assert_eq!(values("conversion", "", &too_late), ["1 0 0.0 0 0.0"]);
    // Twice within a day is once; another customer's payment is not theirs.
    let twice = [
        asks("u/c1", 2),
        handled("u/c2", 2, 11, "about size", "solved"),
        vec![paid("v", "2026-03-02T12:00:00")],
    ];
    assert_eq!(values("conversion", "", &twice.concat()), ["1 0 0.0 0 0.0"]);
}

#[test]
fn agents_have_so_much_time() {
    let state = |time: &str, state: &str, capacity: u32| {
        event(
            "x",
            time,
            "agent.state_changed",
            &format!(r#""agent_id":"a","state":"{state}","capacity":{capacity}"#),
        )
    };
    let mut events = vec![state("10:00:00", "available", 2), state("10:15:00", "offline", 0)];
    events.extend(talk(
        "c1",
        &[("10:01:00", "queued"), ("10:02:00", "accepted"), ("10:05:00", "solved"), ("10:06:00", "wrapped")],
    ));
    events.extend(talk(
        "c2",
        &[
            ("10:01:00", "queued"),
            ("10:04:00", "accepted"),
            ("10:05:00", "held"),
            ("10:07:00", "resumed"),
            ("10:08:00", "solved"),
            ("10:10:00", "wrapped"),
        ],
    ));
    // Of 30 slot minutes 4 + 6 are busy, and 8 minutes have a conversation.
    let rows = values("utilisation", "", &events);
    let row = rows
        .iter()
        .find(|row| row.starts_with("1 600000 1800000 480000 "))
        .unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(row, "1 600000 1800000 480000 0.3333333333333333 1.25");
    // Effort: c1 has the agent alone for 2 minutes and half for 2; c2 half for one, none while
    // held, the whole of the rest.
    let contacts = values("aht", "shop", &events);
    let last: Vec<&str> = contacts
        .iter()
        .filter(|row| row.starts_with("2 "))
        .map(|row| row.rsplit(' ').next().unwrap_or(""))
        .collect();
    // (180 + 30 + 180) s ÷ 2.
    assert_eq!(last.first().copied(), Some("195000.0"), "{contacts:?}");
}

#[test]
fn a_zero_denominator_is_null_and_a_day_without_contacts_shows_nothing() {
    let left = talk("c", &[("10:00:00", "queued"), ("10:01:00", "abandoned")]);
    assert_eq!(values("aht", "", &left), Vec::<String>::new());
    // offered, in time, missed, counted, ignored (nobody was answered): NULL.
    let rows = values("service_level", "", &left);
    assert_eq!(rows[0], "1 0 0.0 0.0 NULL 0.0 0.0 0.0");
    let bot = talk(
        "c",
        &[("10:00:00", "bot begins"), ("10:01:00", "asks"), ("10:01:10", "bot"), ("10:09:00", "solved")],
    );
    assert_eq!(values("transfer", "", &bot)[0], "0 0 NULL 1 0 0.0");
    let handled = handled("c", 2, 10, "about money", "solved");
    assert!(values("csat", "", &handled)[0].starts_with("0 0 NULL 1 "));
}

#[test]
fn a_proactive_conversation_changes_no_inbound_kpi() {
    let ours = |events: &[String]| {
        let kpis: Vec<_> = kpis().into_iter().filter(|kpi| kpi.name != "utilisation").collect();
        let mut events = events.to_vec();
        events.sort_by_key(|line| line.split(r#""time":""#).nth(1).map(str::to_owned));
        run(&kpis, &[events.iter().map(String::as_str).collect()], 5).rows
    };
    let inbound = handled("u/c1", 2, 10, "about size", "solved");
    let proactive = talk(
        "u/c2",
        &[
            ("10:30:00", "we begin"),
            ("10:30:10", "queued"),
            ("10:31:00", "accepted"),
            ("10:31:30", "asks"),
            ("10:32:00", "replies"),
            ("10:33:00", "about size"),
            ("10:34:00", "asks"),
            ("10:35:00", "solved"),
            ("10:36:00", "wrapped"),
            ("10:37:00", "happy"),
        ],
    );
    let alone = ours(&inbound);
    assert!(alone.len() > 50);
    assert_eq!(ours(&[inbound, proactive].concat()), alone);
}

#[test]
fn modes_are_parameters_with_names() {
    let sql = "-- title: In time\n-- unit: share\n-- parameter: within = 30 seconds\n-- corrections: $within + 4 s\n-- early: none\nSELECT tumble(ended_at, INTERVAL '1 hour') AS period, count(*) FILTER (WHERE wait_ms <= $within) AS n FROM contacts GROUP BY period";
    let kpi = Kpi::parse("k.sql", "k", sql).expect("reads");
    assert_eq!((kpi.corrections_ms, kpi.parameters[0].value.as_str()), (34_000, "30 seconds"));
    let mut settings = Settings::default();
    settings.parameters.entry("k".to_owned()).or_default().insert("within".to_owned(), "1 m".to_owned());
    let kpi = Kpi::parse_with("k.sql", "k", sql, &settings).expect("reads");
    assert_eq!(kpi.corrections_ms, 64_000);
    assert!(
        kpi.sql.contains("-- parameter: within = 1 m\n") && kpi.sql.contains("wait_ms <= 60000"),
        "{}",
        kpi.sql
    );
    // However it is spaced; and a dollar in a comment is one.
    let dense = sql.replace("parameter: within = 30 seconds", "parameter:within=30 s\n-- In $ and $cents");
    let kpi = Kpi::parse_with("k.sql", "k", &dense, &settings).expect("reads");
    assert!(
        kpi.sql.contains("within = 1 m\n-- In $ and $cents\n") && kpi.sql.contains("<= 60000"),
        "{}",
        kpi.sql
    );
    let error = |sql: &str, settings: &Settings| {
        Kpi::parse_with("k.sql", "k", sql, settings).expect_err("refused").to_string()
    };
    assert_eq!(
        error(&sql.replace("<= $within", "<= $witin"), &Settings::default()),
        "k.sql: line 6: there is no parameter $witin; say what it is in the header; did you mean \"within\"?"
    );
    settings.parameters.entry("k".to_owned()).or_default().insert("winthin".to_owned(), "1".to_owned());
    assert_eq!(
        error(sql, &settings),
        "k.sql: it has no parameter winthin, which is set; did you mean \"within\"?"
    );
    assert!(
        error(&sql.replace("30 seconds", "soon"), &Settings::default())
            .contains("line 3: expected a name and a duration")
    );
}

#[test]
fn what_is_often_mistaken() {
    let sql = "-- title: A\nSELECT tumble(ended_at, INTERVAL '1 minute') AS period, count(*) AS n,\n  quantile(handle_ms, 0.9) AS p90\nFROM contacts GROUP BY period\n";
    let refused = |from: &str, to: &str| {
        Kpi::parse("k.sql", "k", &sql.replace(from, to)).expect_err("refused").to_string()
    };
    assert!(Kpi::parse("k.sql", "k", sql).is_ok());
    let range = "k.sql: line 3: quantile(x, q) takes a number from 0 to 1 as q, such as 0.9";
    assert_eq!([refused("0.9)", "90)"), refused("0.9)", "-0.5)"), refused("0.9)", "hold_ms)")], [range; 3]);
    assert_eq!(
        refused("AS n,", "AS n"),
        "k.sql: line 3: Expected: end of statement, found: quantile; is a comma missing before it?"
    );
}

#[test]
fn business_hours_and_calendar_time() {
    let mut calendar = Calendar::default();
    calendar.shops.insert("s".to_owned(), Schedule::parse("UTC Mon-Sun 11:00-20:00").expect("reads"));
    let settings = Settings { calendar: Arc::new(calendar), ..Settings::default() };
    let sql = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/kpis/art.sql"))
        .expect("readable");
    let kpi = Kpi::parse_with("art.sql", "art", &sql, &settings).unwrap_or_else(|e| panic!("{e}"));
    // Asked an hour before the shop opens, replied 5 minutes after.
    let events = talk("c", &[("10:00:00", "asks"), ("10:00:01", "queued"), ("11:05:00", "replies")]);
    let rows = values_with(&[Arc::new(kpi)], "art", "", &events);
    let cells: Vec<&str> = rows[0].split(' ').collect();
    assert_eq!((cells[1], cells[5]), ("3900000.0", "300000.0"));
}
