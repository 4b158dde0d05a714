//! The sender: submits one result and brings back what came of it.
//!
//! What could hurt is off, explicitly: redirects (the key would travel with them), the client's own retries (an attempt
//! is one request), proxies from the environment, compression (a bomb), HTTP/2 (one connection that has died silently
//! would take every request with it).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Proxy, RequestBuilder, Response};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::config::{Api, ApiKey};
use crate::model::answer::KEPT_HEADERS;
use crate::model::{Answer, Exchange};

use super::body::KeptBody;
use super::{echo, fault};

/// The header that carries the key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Shorter than what servers and balancers commonly wait (60 s): a request that meets a connection being closed counts
/// as a lost response.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// The most bytes of a kept header's value that are stored.
const HEADER_BYTES_MAX: usize = 2048;

/// The largest file of trust anchors; the whole list of a system has a quarter of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there can be no client. Each names the key of the configuration that has to be mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The trust anchors cannot be read.
    #[error("api.ca_file = {0:?}: {1}")]
    CaFile(String, String),
    /// The proxy cannot be used.
    #[error("api.proxy: {0}")]
    Proxy(String),
    /// The key cannot be put into a header.
    #[error("api.key_file: the key has characters that no header can carry")]
    Key,
    /// Anything else, such as a system without trust anchors.
    #[error(
        "api.base_url: the client for it cannot be built: {0}; without trust anchors of the system, \
         install ca-certificates or set api.ca_file"
    )]
    Build(String),
}

/// A client for one configuration and one key. A changed one needs a new client.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    submit_url: Url,
    result_types_url: Url,
    key: ApiKey,
    timeout: Duration,
    body_bytes_max: usize,
}

impl Client {
    /// Builds one; nothing is connected yet.
    pub fn new(api: &Api, key: &ApiKey) -> Result<Self, ClientError> {
        let mut header = HeaderValue::from_str(key.reveal()).map_err(|_| ClientError::Key)?;
        header.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(KEY_HEADER, header);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));

        // Process-wide, and the same whoever comes first: an error only says that it was done before.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("reten-outbox/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .no_proxy()
            .connect_timeout(api.connect_timeout)
            .pool_idle_timeout(POOL_IDLE);
        if let Some(url) = &api.proxy {
            builder = builder.proxy(proxy(url)?);
        }
        let anchors = match &api.ca_file {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        let speaks_tls = |url: &Url| url.scheme() != "http";
        builder = if speaks_tls(&api.submit_url) || api.proxy.as_ref().is_some_and(speaks_tls) {
            builder.tls_certs_merge(anchors)
        } else {
            // The system's anchors are not even looked for: a sandbox on a machine that has none must work.
            builder.tls_certs_only(anchors)
        };
        let http = builder.build().map_err(|error| match &api.ca_file {
            Some(path) => ClientError::CaFile(path.display().to_string(), fault::story(&error, key.reveal())),
            None => ClientError::Build(fault::story(&error, key.reveal())),
        })?;
        Ok(Self {
            http,
            submit_url: api.submit_url.clone(),
            result_types_url: api.result_types_url.clone(),
            key: key.clone(),
            timeout: api.timeout,
            body_bytes_max: api.max_error_body,
        })
    }

    /// Submits a result. Whatever happens is an [`Exchange`], after `api.timeout` at the latest; with the time from the
    /// first byte wanted out to the last byte in.
    pub async fn submit(&self, body: Bytes) -> (Exchange, Duration) {
        let request = self
            .http
            .post(self.submit_url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        self.exchange(request, self.body_bytes_max).await
    }

    /// Asks for the result types; the body is kept up to `body_bytes_max`.
    pub(super) async fn ask_result_types(&self, body_bytes_max: usize) -> Exchange {
        self.exchange(self.http.get(self.result_types_url.clone()), body_bytes_max)
            .await
            .0
    }

    /// One request to its end. One deadline lies round everything: name, connection, request, answer and body.
    async fn exchange(&self, request: RequestBuilder, body_bytes_max: usize) -> (Exchange, Duration) {
        let began = Instant::now();
        let mut status = None;
        let whole = timeout(self.timeout, self.converse(request, body_bytes_max, &mut status)).await;
        let exchange = whole.unwrap_or_else(|_| fault::timed_out(self.timeout, status));
        (exchange, began.elapsed())
    }

    async fn converse(&self, request: RequestBuilder, body_bytes_max: usize, status: &mut Option<u16>) -> Exchange {
        let key = self.key.reveal();
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return fault::without_answer(error, key),
        };
        let seen = response.status().as_u16();
        *status = Some(seen);
        let mut body = KeptBody::new(body_bytes_max, key);
        // Read to its end, whatever a content-length says: the length that is told is the true one, and the connection
        // can be used again.
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => body.push(&piece),
                Ok(None) => break,
                Err(error) => return fault::cut_off(error, seen, key),
            }
        }
        let headers = kept_headers(&response, key);
        let (body, body_length) = body.finish();
        Exchange::Answered(Answer {
            status: seen,
            headers,
            body,
            body_length,
        })
    }
}

/// The headers that are kept, in the contract's order; of one that is there several times, the first.
fn kept_headers(response: &Response, key: &str) -> Vec<(String, String)> {
    let kept = |name: &str| {
        let value = String::from_utf8_lossy(response.headers().get(name)?.as_bytes()).into_owned();
        let mut value = echo::hidden(&value, key).into_owned();
        value.truncate(value.floor_char_boundary(HEADER_BYTES_MAX));
        Some((name.to_owned(), value))
    };
    KEPT_HEADERS.into_iter().filter_map(kept).collect()
}

/// The configured proxy. Its address may hold a password, so no error shows it.
fn proxy(url: &Url) -> Result<Proxy, ClientError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ClientError::Proxy(format!(
            "{}: is no proxy that can be used; http: and https: are",
            url.scheme()
        )));
    }
    Proxy::all(url.clone()).map_err(|error| ClientError::Proxy(fault::story(&error.without_url(), "")))
}

/// The trust anchors of a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let wrong = |why: String| ClientError::CaFile(path.display().to_string(), why);
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CA_FILE_BYTES_MAX + 1).read_to_end(&mut pem))
        .map_err(|error| wrong(error.to_string()))?;
    if pem.len() as u64 > CA_FILE_BYTES_MAX {
        return Err(wrong(format!("longer than {CA_FILE_BYTES_MAX} bytes")));
    }
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(fault::story(&error, "")))?;
    if found.is_empty() {
        return Err(wrong(
            "holds no certificate; it must be PEM, with BEGIN CERTIFICATE lines".to_owned(),
        ));
    }
    Ok(found)
}
