//! The end that keeps records (`SPU`): append, fetch, offsets.

use std::{io, thread};

use fluvio_protocol::{
    Encoder,
    api::{Request, RequestHeader},
    link::{ErrorCode, versions::ApiVersionsRequest},
};
use fluvio_spu_schema::{
    ApiVersionsResponse,
    fetch::FetchablePartitionResponse,
    produce::{DefaultProduceRequest, PartitionProduceResponse, ProduceResponse, TopicProduceResponse},
    server::{
        fetch_offset::{
            FetchOffsetPartitionResponse, FetchOffsetTopicResponse, FetchOffsetsRequest, FetchOffsetsResponse,
        },
        stream_fetch::{DefaultStreamFetchRequest, StreamFetchResponse},
        update_offset::{OffsetUpdateStatus, UpdateOffsetsRequest, UpdateOffsetsResponse},
    },
};

use crate::{
    Connection, State,
    wire::{Incoming, Slice, platform_version, takes},
};

/// Answers a client until it goes.
pub(crate) fn serve(connection: &Connection) -> io::Result<()> {
    let mut stream =
        connection.stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner).try_clone()?;
    let mut last_stream = 0;
    while let Some(mut request) = Incoming::read(&mut stream)? {
        match request.header.api_key() {
            ApiVersionsRequest::API_KEY => {
                request.decode::<ApiVersionsRequest>()?;
                let answer = ApiVersionsResponse {
                    error_code: ErrorCode::None,
                    api_keys: vec![
                        takes::<DefaultProduceRequest>(),
                        takes::<FetchOffsetsRequest>(),
                        takes::<DefaultStreamFetchRequest>(),
                        takes::<UpdateOffsetsRequest>(),
                    ],
                    platform_version: platform_version()?,
                };
                connection.answer(&request.header, &answer)?;
            }
            DefaultProduceRequest::API_KEY => {
                let Some(answer) = append(connection, request.decode()?)? else { return Ok(()) };
                connection.answer(&request.header, &answer)?;
            }
            FetchOffsetsRequest::API_KEY => {
                let Some(answer) = offsets(connection, request.decode()?) else { return Ok(()) };
                connection.answer(&request.header, &answer)?;
            }
            DefaultStreamFetchRequest::API_KEY => {
                last_stream += 1;
                let fetch = Fetch {
                    connection: connection.clone(),
                    stream: last_stream,
                    request: request.decode()?,
                    header: request.header,
                };
                let Some(mut state) = connection.state() else { return Ok(()) };
                state.acknowledged.insert((connection.id, last_stream), None);
                state.fetches += 1;
                drop(state);
                thread::spawn(move || {
                    if fetch.run().is_err() {
                        fetch.connection.close();
                    }
                });
            }
            UpdateOffsetsRequest::API_KEY => {
                let Some(answer) = acknowledged(connection, &request.decode()?) else { return Ok(()) };
                connection.answer(&request.header, &answer)?;
            }
            other => return Err(io::Error::other(format!("request {other} is not known"))),
        }
    }
    Ok(())
}

/// Appends; `None` if the answer is to be lost.
fn append(connection: &Connection, request: DefaultProduceRequest) -> io::Result<Option<ProduceResponse>> {
    let Some(mut state) = connection.state() else { return Ok(None) };
    let mut answer = ProduceResponse::default();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for part in topic.partitions {
            let mut of_partition = PartitionProduceResponse {
                partition_index: part.partition_index,
                base_offset: -1,
                ..PartitionProduceResponse::default()
            };
            let batches = part.records.batches;
            let largest = batches.iter().map(|batch| batch.write_size(0)).max().unwrap_or(0);
            of_partition.error_code = match state.store.partition_mut(&topic.name, part.partition_index) {
                None => ErrorCode::NotLeaderForPartition,
                Some(_) if largest > connection.shared.options.batch_bytes_max => ErrorCode::MessageTooLarge,
                Some(partition) => {
                    for mut batch in batches {
                        let first = partition.append(&mut batch)?;
                        if of_partition.base_offset < 0 {
                            of_partition.base_offset = first;
                        }
                    }
                    ErrorCode::None
                }
            };
            partitions.push(of_partition);
        }
        answer.responses.push(TopicProduceResponse { name: topic.name, partitions });
    }
    let is_lost = state.lose_acknowledgements > 0;
    state.lose_acknowledgements = state.lose_acknowledgements.saturating_sub(1);
    drop(state);
    connection.shared.changed.notify_all();
    Ok((!is_lost).then_some(answer))
}

fn offsets(connection: &Connection, request: FetchOffsetsRequest) -> Option<FetchOffsetsResponse> {
    let state = connection.state()?;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            let mut answer = FetchOffsetPartitionResponse {
                partition_index: index,
                ..FetchOffsetPartitionResponse::default()
            };
            match state.store.partition(&topic.name, index) {
                None => answer.error_code = ErrorCode::PartitionNotLeader,
                Some(partition) => {
                    answer.start_offset = partition.begin();
                    answer.last_stable_offset = partition.end();
                }
            }
            answer
        });
        let partitions = partitions.collect();
        FetchOffsetTopicResponse { name: topic.name, partitions }
    });
    Some(FetchOffsetsResponse { topics: topics.collect() })
}

fn acknowledged(connection: &Connection, request: &UpdateOffsetsRequest) -> Option<UpdateOffsetsResponse> {
    let mut state = connection.state()?;
    let status = request.offsets.iter().map(|update| {
        let error = match state.acknowledged.get_mut(&(connection.id, update.session_id)) {
            None => ErrorCode::FetchSessionNotFoud,
            Some(offset) => {
                *offset = Some(update.offset);
                ErrorCode::None
            }
        };
        OffsetUpdateStatus { session_id: update.session_id, error }
    });
    let answer = UpdateOffsetsResponse { status: status.collect() };
    drop(state);
    connection.shared.changed.notify_all();
    Some(answer)
}

/// A client reading one partition.
struct Fetch {
    connection: Connection,
    stream: u32,
    header: RequestHeader,
    request: DefaultStreamFetchRequest,
}

impl Fetch {
    /// Sends what there is from the asked offset on, and then, each time the client has
    /// acknowledged an offset that is not the end, what there is from there on.
    fn run(&self) -> io::Result<()> {
        // Where to read on, once it is known.
        let mut from = Some(self.request.fetch_offset);
        let Some(mut state) = self.connection.state() else { return Ok(()) };
        loop {
            if let Some(offset) = from {
                let Some(partition) = state.store.partition(&self.request.topic, self.request.partition)
                else {
                    return self.fail(ErrorCode::NotLeaderForPartition);
                };
                let (begin, end) = (partition.begin(), partition.end());
                if offset > end {
                    return self.fail(ErrorCode::Other(format!(
                        "start offset: {offset} is greater than leo: {end}"
                    )));
                }
                if offset < begin {
                    return self.fail(ErrorCode::OffsetEvicted { offset, next_available: begin });
                }
                if offset < end {
                    let found = partition.read(offset, self.request.max_bytes.max(0) as usize);
                    state.cut_batches += u64::from(found.ends_in_a_batch);
                    drop(state);
                    self.send(FetchablePartitionResponse {
                        partition_index: self.request.partition,
                        high_watermark: end,
                        log_start_offset: begin,
                        records: Slice(found.bytes),
                        ..FetchablePartitionResponse::default()
                    })?;
                    from = None;
                    let Some(next) = self.connection.state() else { return Ok(()) };
                    state = next;
                }
            }
            if let Some(offset) = self.take_acknowledged(&mut state) {
                from = Some(offset);
                continue;
            }
            let Some(next) = self.connection.wait(state) else { return Ok(()) };
            state = next;
        }
    }

    fn take_acknowledged(&self, state: &mut State) -> Option<i64> {
        state.acknowledged.get_mut(&(self.connection.id, self.stream))?.take()
    }

    fn fail(&self, error_code: ErrorCode) -> io::Result<()> {
        self.send(FetchablePartitionResponse {
            partition_index: self.request.partition,
            error_code,
            ..FetchablePartitionResponse::default()
        })
    }

    fn send(&self, partition: FetchablePartitionResponse<Slice>) -> io::Result<()> {
        let answer =
            StreamFetchResponse { topic: self.request.topic.clone(), stream_id: self.stream, partition };
        self.connection.answer(&self.header, &answer)
    }
}
