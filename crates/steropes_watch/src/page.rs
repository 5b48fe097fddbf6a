//! A live page on this machine: the picture, the zones and the latency.

use crate::{Decision, WatchError};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use serde_json::json;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tiny_http::{Header, Method, Response, Server};

/// Ages that the plot shows.
const AGES: usize = 200;
const PAGE: &str = include_str!("page.html");

/// Serves the newest decision on localhost until it is dropped.
pub struct Page {
    live: Arc<Mutex<Live>>,
    server: Arc<Server>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Live {
    decision: Option<Decision>,
    picture: Vec<u8>,
    ages: VecDeque<f64>,
    count: u64,
}

impl Page {
    /// A page on `port` of this machine, which no other machine can reach; 0 takes any free port.
    ///
    /// # Errors
    /// [`WatchError::File`] if the port is taken.
    pub fn serve(port: u16) -> Result<Self, WatchError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| WatchError::File {
            path: PathBuf::from(format!("http://{address}")),
            source: std::io::Error::other(error),
        };
        let server = Arc::new(Server::http(address).map_err(failed)?);
        let live = Arc::new(Mutex::new(Live::default()));
        let (of_thread, shared) = (Arc::clone(&server), Arc::clone(&live));
        let thread = std::thread::spawn(move || {
            for request in of_thread.incoming_requests() {
                if let Err(error) = answer(request, &shared) {
                    log::debug!("page: {error}");
                }
            }
        });
        Ok(Self { live, server, thread: Some(thread) })
    }

    /// Where the page is.
    pub fn address(&self) -> String {
        format!("http://{}/", self.server.server_addr())
    }

    /// Shows a decision, with its picture if there is one.
    pub fn show(&self, decision: &Decision, picture: Option<&RgbImage>) {
        let jpeg = picture.map(|picture| {
            let mut bytes = Vec::new();
            if let Err(error) = JpegEncoder::new_with_quality(&mut bytes, 80).encode_image(picture) {
                log::debug!("page: {error}");
            }
            bytes
        });
        let mut live = lock(&self.live);
        live.count += 1;
        live.decision = Some(decision.clone());
        if let Some(jpeg) = jpeg {
            live.picture = jpeg;
        }
        live.ages.extend(decision.age);
        while live.ages.len() > AGES {
            live.ages.pop_front();
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::debug!("page: its thread ended in a panic");
        }
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(request: tiny_http::Request, live: &Mutex<Live>) -> std::io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default().to_owned();
    if *request.method() != Method::Get {
        return request.respond(Response::empty(405));
    }
    let (kind, body) = match path.as_str() {
        "/" => ("text/html; charset=utf-8", PAGE.as_bytes().to_vec()),
        "/state.json" => {
            let live = lock(live);
            let state = json!({ "count": live.count, "decision": live.decision, "ages": live.ages });
            ("application/json", state.to_string().into_bytes())
        }
        "/frame.jpg" => ("image/jpeg", lock(live).picture.clone()),
        _ => return request.respond(Response::empty(404)),
    };
    let header = |name: &str, value: &str| {
        Header::from_bytes(name.as_bytes(), value.as_bytes()).expect("headers here are plain text")
    };
    let response = Response::from_data(body).with_header(header("Content-Type", kind));
    request.respond(response.with_header(header("Cache-Control", "no-store")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn get(page: &Page, request: &str) -> String {
        let address = page.server.server_addr().to_ip().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn the_page_and_its_parts_are_served_to_this_machine_only() {
        let page = Page::serve(0).unwrap();
        assert!(page.address().starts_with("http://127.0.0.1:"), "{}", page.address());
        let whole = get(&page, "GET /");
        assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("Obstacle watch"), "{whole}");
        assert!(!whole.contains("src=\"http"), "nothing comes from elsewhere");
        assert!(get(&page, "GET /state.json").contains("\"decision\":null"));
        assert!(get(&page, "GET /else").starts_with("HTTP/1.1 404"));
        assert!(get(&page, "POST /").starts_with("HTTP/1.1 405"));
    }
}
