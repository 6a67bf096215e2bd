//! Connections to the cluster: who leads which partition, requests with a time limit, and trying
//! again.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fluvio_future::{future::race, timer::sleep};
use fluvio_protocol::{api::Request, link::ErrorCode, record::ReplicaKey};
use fluvio_sc_schema::{ApiError, partition::PartitionSpec, spu::SpuSpec, topic::TopicSpec};
use fluvio_spu_schema::server::fetch_offset::{
    FetchOffsetPartition, FetchOffsetTopic, FetchOffsetsRequest, FetchOffsetsResponse,
};
use headsup_connectors::LogError;

use crate::{
    FluvioOptions,
    connection::{Controller, Server},
};

/// What all readers and writers of a log share.
pub(crate) struct Cluster {
    pub endpoint: String,
    pub options: FluvioOptions,
    pub gaps: AtomicU64,
    pub reconnects: AtomicU64,
    /// As it was when last looked at; `None` when it has shown to be out of date.
    seen: Mutex<Option<Arc<Seen>>>,
    /// Connections for requests; readers have their own, because a stream that is not read holds
    /// up all others of its connection.
    servers: Mutex<HashMap<i32, Arc<Server>>>,
}

/// The cluster at one moment.
pub(crate) struct Seen {
    pub topics: BTreeMap<String, SeenTopic>,
    addresses: HashMap<i32, String>,
}

pub(crate) struct SeenTopic {
    pub spec: TopicSpec,
    /// The leader of each partition; `None` as long as it has none.
    pub partitions: Vec<Option<i32>>,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offsets {
    pub begin: u64,
    pub end: u64,
}

/// Why an attempt failed.
pub(crate) enum Trouble {
    /// It may go better next time.
    Passing(String),
    /// It will not.
    Final(LogError),
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        Self::Final(error)
    }
}

impl Cluster {
    pub fn new(endpoint: &str, options: FluvioOptions) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            options,
            gaps: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            seen: Mutex::new(None),
            servers: Mutex::new(HashMap::new()),
        }
    }

    pub fn error(&self, attempt: String, problem: String) -> LogError {
        LogError::Cluster { endpoint: self.endpoint.clone(), attempt, problem }
    }

    /// Tries again until it goes well, fails for good, or `patience` is over.
    pub async fn try_for<T>(
        &self,
        patience: Duration,
        attempt: impl Fn() -> String,
        body: impl AsyncFn() -> Result<T, Trouble>,
    ) -> Result<T, LogError> {
        let begun = Instant::now();
        let mut pause = Backoff::default();
        loop {
            match body().await {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(problem)) => {
                    self.forget();
                    let left = patience.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(self.error(attempt(), tried_for(patience, &problem)));
                    }
                    sleep(pause.next().min(left)).await;
                }
            }
        }
    }

    /// Looks at the cluster anew.
    pub async fn look(&self) -> Result<Arc<Seen>, Trouble> {
        let seen = Arc::new(self.in_time("ask the controller", self.look_once()).await?);
        *held(&self.seen) = Some(seen.clone());
        Ok(seen)
    }

    async fn look_once(&self) -> Result<Seen, Trouble> {
        let controller = Controller::connect(&self.endpoint).await.map_err(passing)?;
        let admin = &controller.admin;
        let topics = admin.all::<TopicSpec>().await.map_err(passing)?;
        let partitions = admin.all::<PartitionSpec>().await.map_err(passing)?;
        let servers = admin.all::<SpuSpec>().await.map_err(passing)?;
        let mut seen = Seen { topics: BTreeMap::new(), addresses: HashMap::new() };
        for topic in topics {
            let count = topic.spec.replicas().partitions() as usize;
            seen.topics.insert(topic.name, SeenTopic { spec: topic.spec, partitions: vec![None; count] });
        }
        for partition in partitions {
            let Ok(key) = ReplicaKey::try_from(partition.name) else { continue };
            let topic = seen.topics.get_mut(&key.topic);
            if let Some(leader) = topic.and_then(|topic| topic.partitions.get_mut(key.partition as usize)) {
                *leader = Some(partition.spec.leader);
            }
        }
        for server in servers {
            seen.addresses.insert(server.spec.id, server.spec.public_endpoint.addr());
        }
        Ok(seen)
    }

    /// Makes a topic, unless somebody else just has.
    pub async fn create(&self, topic: &str, spec: TopicSpec) -> Result<(), Trouble> {
        let created = self.in_time("ask the controller", async {
            let controller = Controller::connect(&self.endpoint).await.map_err(passing)?;
            Ok(controller.admin.create(topic.to_owned(), false, spec).await)
        });
        let Err(error) = created.await? else { return Ok(()) };
        match error.downcast_ref::<ApiError>() {
            Some(ApiError::Code(ErrorCode::TopicAlreadyExists, _)) => Ok(()),
            Some(refusal) => {
                Err(Trouble::Final(self.error(format!("create topic {topic}"), refusal.to_string())))
            }
            None => Err(passing(error)),
        }
    }

    /// The cluster as last seen, or looked at now.
    pub async fn seen(&self) -> Result<Arc<Seen>, Trouble> {
        let seen = held(&self.seen).clone();
        match seen {
            Some(seen) => Ok(seen),
            None => self.look().await,
        }
    }

    /// What was seen has shown to be out of date.
    pub fn forget(&self) {
        *held(&self.seen) = None;
    }

    /// How many partitions a topic has, for an attempt at something.
    pub async fn partitions(&self, topic: &str, attempt: &str) -> Result<u32, LogError> {
        let count = |seen: &Seen| seen.topics.get(topic).map(|topic| topic.partitions.len() as u32);
        let attempt = || format!("{attempt} topic {topic}");
        self.try_for(self.options.patience, attempt, async || {
            if let Some(count) = count(&*self.seen().await?) {
                return Ok(count);
            }
            // Another process may have made it since.
            let seen = self.look().await?;
            count(&seen).ok_or_else(|| Trouble::Final(unknown(topic, &seen)))
        })
        .await
    }

    /// The number and address of a partition's leader.
    async fn leader(&self, topic: &str, partition: u32) -> Result<(i32, String), Trouble> {
        let seen = self.seen().await?;
        let Some(of_topic) = seen.topics.get(topic) else {
            return Err(Trouble::Final(unknown(topic, &seen)));
        };
        let leader = of_topic.partitions.get(partition as usize).copied().flatten();
        leader.and_then(|leader| Some((leader, seen.addresses.get(&leader)?.clone()))).ok_or_else(|| {
            Trouble::Passing(format!("partition {partition} of topic {topic} has no leader yet"))
        })
    }

    /// A connection of one's own to a partition's leader.
    pub async fn connect(&self, topic: &str, partition: u32) -> Result<Server, Trouble> {
        let (_, address) = self.leader(topic, partition).await?;
        self.connect_to(&address).await
    }

    async fn connect_to(&self, address: &str) -> Result<Server, Trouble> {
        self.in_time("connect", async { Server::connect(address).await.map_err(passing) }).await
    }

    /// Sends one request to a partition's leader, over the shared connection.
    pub async fn ask<R>(&self, topic: &str, partition: u32, request: R) -> Result<R::Response, Trouble>
    where
        R: Request + Send + Sync,
    {
        let (number, address) = self.leader(topic, partition).await?;
        self.ask_server(number, &address, request).await
    }

    async fn ask_server<R>(&self, number: i32, address: &str, request: R) -> Result<R::Response, Trouble>
    where
        R: Request + Send + Sync,
    {
        let known = held(&self.servers).get(&number).cloned();
        let server = match known {
            Some(server) if !server.is_stale() && server.address == address => server,
            before => {
                if before.is_some() {
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                let server = Arc::new(self.connect_to(address).await?);
                held(&self.servers).insert(number, server.clone());
                server
            }
        };
        let answer = self
            .in_time("get an answer", async { server.serial().send_receive(request).await.map_err(passing) });
        let answer = answer.await;
        if answer.is_err() {
            // Whatever it was, the next attempt begins with a connection that has no past.
            let mut servers = held(&self.servers);
            if servers.get(&number).is_some_and(|current| Arc::ptr_eq(current, &server)) {
                servers.remove(&number);
                self.reconnects.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    /// Where a partition begins and ends.
    pub async fn offsets(&self, topic: &str, partition: u32) -> Result<Offsets, Trouble> {
        let answer = self.ask(topic, partition, offsets_request([(topic, partition)])).await?;
        offsets_in(&answer, topic, partition)
    }

    /// Where all partitions of topics begin and end: in order, with the place of the topic. One
    /// request to each server.
    pub async fn offsets_of_topics(&self, topics: &[&str]) -> Result<Vec<(usize, Offsets)>, Trouble> {
        let seen = self.seen().await?;
        let mut of_server: BTreeMap<(i32, String), Vec<(usize, u32)>> = BTreeMap::new();
        for (place, topic) in topics.iter().enumerate() {
            let count = seen.topics.get(*topic).map_or(0, |topic| topic.partitions.len() as u32);
            if count == 0 {
                return Err(Trouble::Passing(format!("topic {topic} has no partitions yet")));
            }
            for partition in 0..count {
                let leader = self.leader(topic, partition).await?;
                of_server.entry(leader).or_default().push((place, partition));
            }
        }
        let mut found = Vec::new();
        for ((number, address), partitions) in of_server {
            let request =
                offsets_request(partitions.iter().map(|&(place, partition)| (topics[place], partition)));
            let answer = self.ask_server(number, &address, request).await?;
            for (place, partition) in partitions {
                found.push((place, partition, offsets_in(&answer, topics[place], partition)?));
            }
        }
        found.sort_by_key(|&(place, partition, _)| (place, partition));
        Ok(found.into_iter().map(|(place, _, offsets)| (place, offsets)).collect())
    }

    /// Gives up after the time that a request may take.
    pub async fn in_time<T>(
        &self,
        attempt: &str,
        body: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let limit = self.options.request_timeout;
        let late = || Trouble::Passing(format!("could not {attempt} within {limit:?}"));
        within(limit, body).await.unwrap_or_else(|| Err(late()))
    }
}

/// Pauses that grow: 50 ms, 100 ms, up to 2 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(50 << self.failures.min(6)).min(Duration::from_secs(2));
        self.failures += 1;
        pause
    }
}

/// What comes of `body`, unless it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, body: impl Future<Output = T>) -> Option<T> {
    race(async { Some(body.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

pub(crate) fn passing(error: impl Display) -> Trouble {
    Trouble::Passing(error.to_string())
}

pub(crate) fn tried_for(patience: Duration, problem: &str) -> String {
    format!("{problem}; tried again for {patience:?}")
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn offsets_request<'a>(partitions: impl IntoIterator<Item = (&'a str, u32)>) -> FetchOffsetsRequest {
    let topics = partitions.into_iter().map(|(topic, partition)| FetchOffsetTopic {
        name: topic.to_owned(),
        partitions: vec![FetchOffsetPartition { partition_index: partition }],
    });
    FetchOffsetsRequest { topics: topics.collect(), ..FetchOffsetsRequest::default() }
}

fn offsets_in(answer: &FetchOffsetsResponse, topic: &str, partition: u32) -> Result<Offsets, Trouble> {
    let of_topic = answer.topics.iter().filter(|of_topic| of_topic.name == topic);
    let mut partitions = of_topic.flat_map(|of_topic| &of_topic.partitions);
    match partitions.find(|found| found.partition_index == partition) {
        None => Err(Trouble::Passing("the answer lacks the partition".into())),
        Some(found) if found.error_code == ErrorCode::None => Ok(Offsets {
            begin: found.start_offset.max(0) as u64,
            end: found.last_stable_offset.max(0) as u64,
        }),
        Some(found) => Err(passing(&found.error_code)),
    }
}

fn unknown(topic: &str, seen: &Seen) -> LogError {
    LogError::UnknownTopic {
        topic: topic.chars().take(120).collect(),
        known: seen.topics.keys().cloned().collect(),
    }
}
