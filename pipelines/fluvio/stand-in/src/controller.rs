//! The end that knows the topics (`SC`): versions, create, list, watch.

use std::{io, thread};

use fluvio_protocol::{
    Decoder, Encoder,
    api::{Request, RequestHeader},
    link::{
        ErrorCode,
        versions::{ApiVersionsRequest, ApiVersionsResponse},
    },
};
use fluvio_sc_schema::{
    AdminSpec, Status, TryEncodableFrom,
    objects::{
        CreateRequest, ListRequest, ListResponse, Metadata, MetadataUpdate, ObjectApiCreateRequest,
        ObjectApiListRequest, ObjectApiListResponse, ObjectApiWatchRequest, ObjectApiWatchResponse,
        WatchRequest, WatchResponse,
    },
    partition::PartitionSpec,
    shared::validate_resource_name,
    spu::SpuSpec,
    topic::{TopicResolution, TopicSpec, TopicStatus},
};

use crate::{
    Connection, State,
    wire::{Incoming, platform_version, takes},
};

/// The number of the one server of records.
const SERVER: i32 = 5001;

/// Answers a client until it goes.
pub(crate) fn serve(connection: &Connection) -> io::Result<()> {
    let mut stream =
        connection.stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner).try_clone()?;
    while let Some(mut request) = Incoming::read(&mut stream)? {
        match request.header.api_key() {
            ApiVersionsRequest::API_KEY => {
                request.decode::<ApiVersionsRequest>()?;
                let answer = ApiVersionsResponse {
                    error_code: ErrorCode::None,
                    api_keys: vec![
                        takes::<ObjectApiCreateRequest>(),
                        takes::<ObjectApiListRequest>(),
                        takes::<ObjectApiWatchRequest>(),
                    ],
                    platform_version: platform_version()?,
                };
                connection.answer(&request.header, &answer)?;
            }
            ObjectApiCreateRequest::API_KEY => {
                let body: ObjectApiCreateRequest = request.decode()?;
                let Some(body) = body.downcast().map_err(io::Error::other)? else {
                    return Err(io::Error::other("only topics can be created"));
                };
                let Some(answer) = create(connection, body)? else { return Ok(()) };
                connection.answer(&request.header, &answer)?;
            }
            ObjectApiListRequest::API_KEY => {
                let body: ObjectApiListRequest = request.decode()?;
                let version = request.header.api_version();
                let Some(state) = connection.state() else { return Ok(()) };
                let answer = if asks_list::<TopicSpec>(&body)? {
                    listed(topics(&state), version)?
                } else if asks_list::<PartitionSpec>(&body)? {
                    listed(partitions(&state), version)?
                } else if asks_list::<SpuSpec>(&body)? {
                    listed(servers(connection), version)?
                } else {
                    return Err(io::Error::other("only topics, partitions and SPUs can be listed"));
                };
                drop(state);
                connection.answer(&request.header, &answer)?;
            }
            ObjectApiWatchRequest::API_KEY => {
                let body: ObjectApiWatchRequest = request.decode()?;
                let header = request.header;
                if asks_watch::<TopicSpec>(&body)? {
                    watch(connection, header, |_, state| topics(state));
                } else if asks_watch::<PartitionSpec>(&body)? {
                    watch(connection, header, |_, state| partitions(state));
                } else if asks_watch::<SpuSpec>(&body)? {
                    watch(connection, header, |connection, _| servers(connection));
                } else {
                    return Err(io::Error::other("only topics, partitions and SPUs can be watched"));
                }
            }
            other => return Err(io::Error::other(format!("request {other} is not known"))),
        }
    }
    Ok(())
}

fn create(connection: &Connection, request: CreateRequest<TopicSpec>) -> io::Result<Option<Status>> {
    let (common, spec) = request.parts();
    let name = common.name;
    if let Err(error) = validate_resource_name(&name) {
        let why = format!("Invalid topic name: '{name}'. {error}");
        return Ok(Some(Status::new(name, ErrorCode::TopicInvalidName, Some(why))));
    }
    let Some(mut state) = connection.state() else { return Ok(None) };
    if state.store.topics().any(|(known, _)| *known == name) {
        let why = format!("Topic '{name}' already exists");
        return Ok(Some(Status::new(name, ErrorCode::TopicAlreadyExists, Some(why))));
    }
    if !common.dry_run {
        state.store.make(&name, spec.replicas().partitions())?;
    }
    drop(state);
    connection.shared.changed.notify_all();
    Ok(Some(Status::new_ok(name)))
}

/// Sends all objects, and all again whenever there are more.
fn watch<S>(
    connection: &Connection,
    header: RequestHeader,
    objects: fn(&Connection, &State) -> Vec<Metadata<S>>,
) where
    S: AdminSpec + Send + 'static,
    S::Status: Encoder + Decoder,
{
    let connection = connection.clone();
    thread::spawn(move || -> io::Result<()> {
        let Some(mut state) = connection.state() else { return Ok(()) };
        loop {
            let epoch = state.store.epoch;
            let all = MetadataUpdate::with_all(epoch, objects(&connection, &state));
            drop(state);
            let answer =
                ObjectApiWatchResponse::try_encode_from(WatchResponse::new(all), header.api_version())
                    .map_err(io::Error::other)?;
            connection.answer(&header, &answer)?;
            let Some(next) = connection.state() else { return Ok(()) };
            state = next;
            while state.store.epoch == epoch {
                let Some(next) = connection.wait(state) else { return Ok(()) };
                state = next;
            }
        }
    });
}

fn asks_list<S: AdminSpec>(request: &ObjectApiListRequest) -> io::Result<bool> {
    let asked: Option<ListRequest<S>> = request.downcast().map_err(io::Error::other)?;
    Ok(asked.is_some())
}

fn asks_watch<S: AdminSpec>(request: &ObjectApiWatchRequest) -> io::Result<bool> {
    let asked: Option<WatchRequest<S>> = request.downcast().map_err(io::Error::other)?;
    Ok(asked.is_some())
}

fn listed<S>(objects: Vec<Metadata<S>>, version: i16) -> io::Result<ObjectApiListResponse>
where
    S: AdminSpec,
    S::Status: Encoder + Decoder,
{
    ObjectApiListResponse::try_encode_from(ListResponse::new(objects), version).map_err(io::Error::other)
}

fn topics(state: &State) -> Vec<Metadata<TopicSpec>> {
    let topic = |(name, partitions): (&String, u32)| Metadata {
        name: name.clone(),
        spec: TopicSpec::new_computed(partitions, 1, None),
        status: TopicStatus { resolution: TopicResolution::Provisioned, ..TopicStatus::default() },
    };
    state.store.topics().map(topic).collect()
}

fn partitions(state: &State) -> Vec<Metadata<PartitionSpec>> {
    let of_topic = |(name, count): (&String, u32)| {
        let name = name.clone();
        (0..count).map(move |partition| Metadata {
            name: format!("{name}-{partition}"),
            spec: PartitionSpec::new(SERVER, vec![SERVER]),
            status: Default::default(),
        })
    };
    state.store.topics().flat_map(of_topic).collect()
}

fn servers(connection: &Connection) -> Vec<Metadata<SpuSpec>> {
    let address = connection.shared.options.listen_records;
    let mut status = <SpuSpec as fluvio_sc_schema::core::Spec>::Status::default();
    status.set_online();
    let spec = SpuSpec::new_public_addr(SERVER, address.port(), address.ip().to_string());
    vec![Metadata { name: format!("custom-spu-{SERVER}"), spec, status }]
}
