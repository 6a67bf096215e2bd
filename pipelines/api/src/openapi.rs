//! The description of the API, OpenAPI 3.1.

use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi};

use crate::params::{ID_MAX, PLAIN};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::{ingest, reads, tasks};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "headsup",
        description = "Risk scores, tasks for agents, KPIs and alerts; and where events come in. See docs/api.md.",
        version = "1",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        reads::risk, reads::scores, reads::kpis, reads::alerts,
        tasks::feed, tasks::task, tasks::offer, tasks::accept, tasks::reject, tasks::complete, tasks::cancel,
        ingest::events, description,
    ),
    components(schemas(Problem)),
    tags(
        (name = "scores", description = "What models say of customers."),
        (name = "tasks", description = "Whom to contact, and what became of it."),
        (name = "events", description = "Where events come in."),
        (name = "kpis", description = "Live KPIs."),
        (name = "alerts", description = "What is out of the ordinary."),
        (name = "description", description = "This."),
    ),
    modifiers(&Rest),
)]
struct Description;

/// `docs/openapi.json`.
pub fn openapi() -> String {
    // Nothing in it is not JSON.
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This description; without a token.
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "description", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")))]
#[expect(dead_code, reason = "it is only described")]
fn description() {}

/// What operations have in common.
struct Rest;

impl Modify for Rest {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of the file of tokens, `hup_…`, with the scope that is named."))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        for status in STATUSES {
            components.responses.insert(problem_name(status), RefOr::T(problem(status)));
        }
        for (path, item) in &mut openapi.paths.paths {
            let operations = [(HttpMethod::Get, &mut item.get), (HttpMethod::Post, &mut item.post)];
            for (method, operation) in operations {
                if let Some(operation) = operation.as_mut().filter(|operation| operation.security.is_some()) {
                    complete(path, &method, operation);
                }
            }
        }
    }
}

fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let is_change = path.starts_with("/v1/tasks/{id}/");
    if is_change {
        operation.parameters.get_or_insert_default().extend(change_parameters().map(RefOr::T));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            rate_headers(response);
            if is_change {
                response.headers.insert("ETag".to_owned(), header("The task's revision in quotes."));
            }
        }
    }
    let mut statuses = vec![400, 401, 403, 429, 500, 503];
    if path.contains("{id}") {
        statuses.push(404);
    }
    if matches!(method, HttpMethod::Post) {
        statuses.extend([408, 413, 415, 422]);
    }
    if is_change {
        statuses.extend([409, 412]);
    }
    if path == "/v1/tasks" {
        statuses.push(410);
    }
    for status in statuses {
        let response = RefOr::Ref(Ref::from_response_name(problem_name(status)));
        operation.responses.responses.insert(status.to_string(), response);
    }
}

/// Of all problems with what is described.
const STATUSES: [u16; 14] = [400, 401, 403, 404, 408, 409, 410, 412, 413, 415, 422, 429, 500, 503];

fn problem_name(status: u16) -> String {
    format!("Problem{status}")
}

fn change_parameters() -> [Parameter; 3] {
    let text = |most: Option<usize>, pattern: Option<&str>| {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(pattern);
        Schema::Object(match most {
            Some(most) => text.min_length(Some(1)).max_length(Some(most)).build(),
            None => text.build(),
        })
    };
    let parameter = |name: &str, place, required, description: &str, schema| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        parameter.description(Some(description)).schema(Some(schema)).build()
    };
    let tags = text(None, Some("^\"[0-9]+\"$"));
    let key = "The same when the same request is sent again: it changes nothing then, and the answer is the task as it stands.";
    let tag = "The ETag of the task as the caller knows it; if it has changed, the answer is 412.";
    [
        parameter("id", ParameterIn::Path, Required::True, "The task's id.", text(Some(ID_MAX), Some(PLAIN))),
        parameter(
            "Idempotency-Key",
            ParameterIn::Header,
            Required::True,
            key,
            text(Some(128), Some("^[!-~]+$")),
        ),
        parameter("If-Match", ParameterIn::Header, Required::False, tag, tags),
    ]
}

fn header(description: &str) -> RefOr<utoipa::openapi::Header> {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    RefOr::T(HeaderBuilder::new().schema(Some(text)).description(Some(description)).build())
}

fn rate_headers(response: &mut Response) {
    let policy = "How much a token may ask: `q` requests at once, refilled within `w` seconds.";
    let left = "How much it still may: `r` requests at once, all again in `t` seconds.";
    response.headers.insert("RateLimit-Policy".to_owned(), header(policy));
    response.headers.insert("RateLimit".to_owned(), header(left));
}

fn problem(status: u16) -> Response {
    let description = match status {
        400 => "The path, the query, a header or the JSON is malformed.",
        401 => "There is no token, or it is wrong or has expired.",
        403 => "The token has another scope.",
        404 => "There is no such thing.",
        408 => "The body took too long.",
        409 => "The task cannot become that; `allowed` is what it can become.",
        410 => "What is behind the cursor is no longer kept.",
        412 => "The task has another revision than If-Match; `revision` is which.",
        413 => "The body is too large.",
        415 => "The body is of another media type.",
        422 => "The body says something else than the schema, or the key belongs to another request.",
        429 => "The token asks too often.",
        500 => "The request was given up within headsup.",
        _ => "Not now: there is no room, or headsup is not ready.",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build();
    if matches!(status, 401 | 403) {
        response.headers.insert("WWW-Authenticate".to_owned(), header("What is wanted (RFC 6750)."));
    }
    if matches!(status, 429 | 503) {
        response.headers.insert("Retry-After".to_owned(), header("When to ask again, in seconds."));
    }
    if !matches!(status, 401 | 403) {
        rate_headers(&mut response);
    }
    response
}
