//! Large files over HTTP, continued where an earlier attempt ended.

use crate::model_store::with_suffix;
use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, header};

/// Attempts in a row that get no further before an address is given up.
const ATTEMPTS: usize = 3;
/// Time between attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// A connection that is silent for this long counts as cut.
const SILENCE: Duration = Duration::from_secs(60);
const CHUNK: usize = 1 << 16;

/// What is known about an unfinished file, kept beside it.
#[derive(Default, Deserialize, PartialEq, Serialize)]
struct State {
    /// The address that its bytes came from.
    url: String,
    /// What the server calls this version of the file.
    version: Option<String>,
    /// Bytes of the whole file.
    total: Option<u64>,
}

/// Why an attempt failed.
enum Failure {
    /// What has come is kept; another attempt may go on from there.
    Cut(anyhow::Error),
    /// Another attempt would end the same way.
    Final(anyhow::Error),
}

/// Brings the file at `url` to `partial`, whole; goes on from what is there if it is known to be the beginning of the same
/// file: it came from the same address, or `is_checked` says that a checksum will judge the whole.
///
/// # Errors
/// The server refuses, the connection fails again and again, or the file cannot be written. What has come stays.
pub(crate) fn download(url: &str, partial: &Path, is_checked: bool, bar: &ProgressBar) -> anyhow::Result<()> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .https_only(url.starts_with("https://"))
        .accept_encoding("identity")
        .user_agent(concat!("steropes/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .new_agent();
    let (mut idle, mut longest) = (0, length(partial));
    loop {
        match attempt(&agent, url, partial, is_checked, bar) {
            Ok(()) => return Ok(()),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Cut(error)) => {
                let reached = length(partial);
                idle = if reached > longest { 0 } else { idle + 1 };
                longest = longest.max(reached);
                if idle == ATTEMPTS {
                    return Err(error);
                }
                log::info!("{url}: {error:#}, trying again");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Removes an unfinished file and what is known about it.
pub(crate) fn discard(partial: &Path) {
    for path in [partial.to_owned(), state_of(partial)] {
        if let Err(error) = std::fs::remove_file(&path) {
            log::debug!("removing `{}`: {error}", path.display());
        }
    }
}

/// Removes what is known about a file that is finished.
pub(crate) fn forget(partial: &Path) {
    if let Err(error) = std::fs::remove_file(state_of(partial)) {
        log::debug!("removing `{}`: {error}", state_of(partial).display());
    }
}

fn state_of(partial: &Path) -> std::path::PathBuf {
    with_suffix(partial, ".json")
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |about| about.len())
}

fn attempt(
    agent: &ureq::Agent,
    url: &str,
    partial: &Path,
    is_checked: bool,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let known: Option<State> =
        std::fs::read(state_of(partial)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let known = known.filter(|state| state.url == url || is_checked);
    let have = if known.is_some() { length(partial) } else { 0 };
    let known = known.unwrap_or_default();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
        if let Some(version) = known.version.as_ref().filter(|_| known.url == url) {
            request = request.header(header::IF_RANGE, version);
        }
    }
    let response = request.call().map_err(|error| refusal(error, url))?;
    let about = response.headers();
    let (start, total) = match response.status() {
        StatusCode::OK => (0, number(about, header::CONTENT_LENGTH)),
        StatusCode::PARTIAL_CONTENT => match content_range(about) {
            Some((Some(start), total))
                if start == have && (known.total.is_none() || known.total == total) =>
            {
                (have, total)
            }
            _ => return Err(start_over(partial, "the server sends another part than was asked for")),
        },
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
            return match content_range(about) {
                Some((None, Some(total))) if total == have && known.total == Some(total) => Ok(()),
                _ => Err(start_over(partial, "the file has changed on the server")),
            };
        }
        status => {
            let error = anyhow!("the server answers {status}");
            let is_passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if is_passing { Failure::Cut(error) } else { Failure::Final(error) });
        }
    };
    let state = State { url: url.to_owned(), version: version(about), total };
    receive(response, partial, start, &state, bar)
}

/// Writes the body of a response from byte `start` of the file on.
fn receive(
    response: Response<ureq::Body>,
    partial: &Path,
    start: u64,
    state: &State,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::Final(anyhow!(error).context(format!("writing `{}`", partial.display())))
    };
    let mut file = at(partial, start).map_err(failed)?;
    let text = serde_json::to_vec(state).expect("texts and numbers are valid JSON");
    std::fs::write(state_of(partial), text).map_err(failed)?;
    bar.set_length(state.total.unwrap_or(0));
    bar.set_position(start);
    let mut body = response.into_body().into_reader();
    let mut chunk = vec![0; CHUNK];
    let mut have = start;
    loop {
        match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                file.write_all(&chunk[..n]).map_err(failed)?;
                have += n as u64;
                bar.set_position(have);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let whole = state.total.map_or(String::new(), |total| format!(" of {total}"));
                return Err(Failure::Cut(anyhow!(
                    "the connection ended after {have}{whole} bytes ({error})"
                )));
            }
        }
    }
    file.sync_all().map_err(failed)?;
    match state.total {
        Some(total) if have < total => {
            Err(Failure::Cut(anyhow!("the connection ended after {have} of {total} bytes")))
        }
        Some(total) if have > total => {
            Err(start_over(partial, &format!("the server sends {have} bytes instead of {total}")))
        }
        _ => Ok(()),
    }
}

/// The file, with everything from byte `start` on removed, to be written from there.
fn at(path: &Path, start: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file)
}

/// What has come is of no use.
fn start_over(partial: &Path, why: &str) -> Failure {
    discard(partial);
    Failure::Cut(anyhow!("{why}"))
}

fn refusal(error: ureq::Error, url: &str) -> Failure {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Timeout};
    let passes = matches!(error, Io(_) | Timeout(_) | ConnectionFailed | HostNotFound);
    let error = anyhow!("{error}").context(format!("cannot reach {url}"));
    if passes { Failure::Cut(error) } else { Failure::Final(error) }
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// First byte and length of the whole file in `bytes 10-99/100`, `bytes 10-99/*` or `bytes */100`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) =
        headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').map(|(start, _)| start.parse()).transpose().ok()?;
    Some((start, total.parse().ok()))
}

/// The strong validator of a response, for `If-Range`.
fn version(headers: &HeaderMap) -> Option<String> {
    let tag =
        headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/"));
    let date = || headers.get(header::LAST_MODIFIED).and_then(|date| date.to_str().ok());
    tag.or_else(date).map(str::to_owned)
}

/// Copies a file to `partial`.
///
/// # Errors
/// It cannot be read, or `partial` not be written.
pub(crate) fn copy(from: &Path, partial: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let source = File::open(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    bar.set_length(source.metadata().map_or(0, |about| about.len()));
    let copied = at(partial, 0).and_then(|mut file| {
        std::io::copy(&mut bar.wrap_read(source), &mut file)?;
        file.sync_all()
    });
    copied.with_context(|| format!("copying `{}` to `{}`", from.display(), partial.display()))
}
