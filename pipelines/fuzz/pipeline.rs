//! A pipeline with all facts and no windows, and events for it.

use headsup_events::{Chunk, Decoder, Limits};
use headsup_operators::facts::Table;
use headsup_operators::{ContactLimits, FollowLimits, Pipeline, PipelineConfig};

pub const PARTITIONS: usize = 2;
const APPENDED_AT_MS: i64 = 1_772_410_200_000;

pub fn new() -> Pipeline {
    let config = PipelineConfig {
        partitions: PARTITIONS,
        disorder_ms_max: 2_000,
        lateness_ms_max: 600_000,
        // Short, because the queue is sampled until they are over.
        contacts: ContactLimits { served_ms: 30 * 60_000, queue_ms: 30 * 60_000, ..ContactLimits::default() },
        queue_tick_ms: 10_000,
        queue_over_ms: 120_000,
        follow: FollowLimits::default(),
        agents: true,
        quiet_until_ms: i64::MIN,
        store: Table::ALL.to_vec(),
        profile: false,
    };
    Pipeline::new(config, Vec::new())
}

/// Contacts in all phases, agents, an order, and a late event, over two partitions.
pub const EVENTS: [&str; PARTITIONS] = [
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"conversation.started","subject":"c1","time":"2026-03-02T00:00:08.297Z","data":{"customer_id":"u1","shop":"s1","channel":"web","origin":"inbound","entry":"queue"}}
{"specversion":"1.0","id":"2","source":"/s","type":"conversation.queued","subject":"c1","time":"2026-03-02T00:00:09Z","data":{"customer_id":"u1","shop":"s1","channel":"web","skill":"refund, returns and more"}}
{"specversion":"1.0","id":"3","source":"/s","type":"conversation.message","subject":"c1","time":"2026-03-02T00:00:10Z","data":{"customer_id":"u1","shop":"s1","channel":"web","role":"customer"}}
{"specversion":"1.0","id":"4","source":"/s","type":"conversation.accepted","subject":"c1","time":"2026-03-02T00:00:20Z","data":{"customer_id":"u1","shop":"s1","channel":"web","agent_id":"a1"}}
{"specversion":"1.0","id":"5","source":"/s","type":"conversation.message","subject":"c1","time":"2026-03-02T00:00:31Z","data":{"customer_id":"u1","shop":"s1","channel":"web","role":"agent","agent_id":"a1"}}
{"specversion":"1.0","id":"6","source":"/s","type":"conversation.closed","subject":"c1","time":"2026-03-02T00:01:31Z","data":{"customer_id":"u1","shop":"s1","channel":"web","resolved":true}}
{"specversion":"1.0","id":"7","source":"/s","type":"conversation.wrapped","subject":"c1","time":"2026-03-02T00:01:40Z","data":{"customer_id":"u1","shop":"s1","channel":"web","agent_id":"a1"}}
{"specversion":"1.0","id":"8","source":"/s","type":"conversation.rated","subject":"c1","time":"2026-03-02T00:01:50Z","data":{"customer_id":"u1","shop":"s1","channel":"web","score":5}}
{"specversion":"1.0","id":"9","source":"/s","type":"conversation.held","subject":"c3","time":"2026-03-02T00:01:51Z","data":{"customer_id":"u3","shop":"s1","channel":"web"}}
{"specversion":"1.0","id":"10","source":"/s","type":"headsup.heartbeat","time":"2026-03-02T00:02:00Z"}"#,
    r#"{"specversion":"1.0","id":"1","source":"/t","type":"agent.state_changed","subject":"a1","time":"2026-03-02T00:00:01Z","data":{"agent_id":"a1","state":"available","capacity":3}}
{"specversion":"1.0","id":"2","source":"/t","type":"conversation.queued","subject":"c2","time":"2026-03-02T00:00:11Z","data":{"customer_id":"u2","shop":"s1","channel":"phone","skill":"sales"}}
{"specversion":"1.0","id":"3","source":"/t","type":"order.placed","subject":"o1","time":"2026-03-02T00:00:21Z","data":{"customer_id":"u2","shop":"s1","channel":"web","currency":"EUR","amount_minor":1250,"lines":[{"sku":"x","quantity":1}]}}
{"specversion":"1.0","id":"4","source":"/t","type":"conversation.abandoned","subject":"c2","time":"2026-03-02T00:01:41Z","data":{"customer_id":"u2","shop":"s1","channel":"phone"}}
{"specversion":"1.0","id":"5","source":"/t","type":"conversation.queued","subject":"c4","time":"2026-03-02T00:01:30Z","data":{"customer_id":"u4","shop":"s1","channel":"phone","skill":"sales"}}"#,
];

/// Takes in events of a partition.
pub fn push(pipeline: &mut Pipeline, partition: usize, events: &str) {
    let mut decoder = Decoder::new(Limits::default(), Pipeline::columns());
    let decoded = decoder.decode(&Chunk::of_lines(events, 0, APPENDED_AT_MS));
    let quarantined = decoded.quarantined.len() as u64;
    assert_eq!(quarantined, 0, "{:?}", decoded.quarantined);
    pipeline.push(partition, decoded, quarantined);
}

/// Takes in all events and comes to the end of time.
#[allow(dead_code, reason = "the seeds do without")]
pub fn go_on(pipeline: &mut Pipeline) {
    for (partition, events) in EVENTS.iter().enumerate() {
        push(pipeline, partition, events);
        pipeline.advance().expect("nothing is evaluated");
    }
    for partition in 0..PARTITIONS {
        pipeline.end(partition);
    }
    pipeline.advance().expect("nothing is evaluated");
}
