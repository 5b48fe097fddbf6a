//! `steropes models` on files that are made here, and against servers of this process.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use steropes_models::mast3r::synthetic::{Extents, parameters, weight};
use steropes_testkit::torch_file::{Pickle, archive, checkpoint};
use tempfile::TempDir;

const TINY: Extents = Extents::TINY;
const ARGS: &str = Extents::TINY_ARGS;

const FILE: &str = "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth";
const ALIAS: &str = "downstream_head1.dpt.scratch.layer_rn.0.weight";
const FIRST: &str = "downstream_head1.dpt.scratch.layer1_rn.weight";

/// The network as a file of `torch.save`; `change` may change a weight.
fn network_with(change: impl Fn(&str, &mut Vec<f32>)) -> Vec<u8> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let mut values = weight("torch", &name, &shape);
        change(&name, &mut values);
        (name, shape, values)
    };
    let tensors: Vec<_> = parameters(&TINY).into_iter().map(tensor).collect();
    let alias = |(head, k): (u32, u32)| {
        let scratch = format!("downstream_head{head}.dpt.scratch");
        (format!("{scratch}.layer_rn.{k}.weight"), format!("{scratch}.layer{}_rn.weight", k + 1))
    };
    let aliases: Vec<_> = [1, 2].iter().flat_map(|&head| (0..4).map(move |k| (head, k))).map(alias).collect();
    checkpoint(ARGS, &tensors, &aliases)
}

fn network() -> Vec<u8> {
    network_with(|_, _| {})
}

/// A folder for one test, with a cache of its own.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cache")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steropes"));
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("STEROPES_DEVICE", "cpu")
            .env("STEROPES_CACHE", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env_remove("STEROPES_OFFLINE")
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything below the folder, with the length of files.
    fn entries(&self) -> Vec<(PathBuf, u64)> {
        fn collect(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, found);
                } else {
                    found.push((path.clone(), path.metadata().unwrap().len()));
                }
            }
        }
        let mut found = Vec::new();
        collect(self.folder.path(), &mut found);
        found.sort();
        found
    }

    /// Runs and expects one line on standard error that holds `text`, exit code 2 and nothing under a final name.
    #[track_caller]
    fn refuses(&self, args: &[&str], text: &str) {
        let visible = |desk: &Self| {
            let is_hidden = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with('.');
            desk.entries().into_iter().filter(|(path, _)| !is_hidden(path)).collect::<Vec<_>>()
        };
        let before = visible(self);
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(text), "`{stderr}` does not say `{text}`");
        assert_eq!(stderr.trim_end().lines().count(), 1, "more than one line: {stderr}");
        assert!(output.stdout.is_empty());
        assert_eq!(visible(self), before, "something was left behind");
    }

    fn cached(&self) -> PathBuf {
        self.path("cache/models").join(FILE)
    }

    /// The unfinished file of a fetch.
    fn partial(&self) -> PathBuf {
        self.path("cache/models").join(format!(".{FILE}.part"))
    }
}

/// A request: its path and the first byte that it asks for.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    path: String,
    from: Option<usize>,
    version: Option<String>,
}

/// A server that answers each connection once.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gives all bytes of the answer to the n-th request.
    fn new(answer: impl Fn(usize, &Request) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let Some(first) = lines.next() else { continue };
                let path = first.split(' ').nth(1).unwrap().to_owned();
                let mut request = Request { path, from: None, version: None };
                for line in lines.take_while(|line| !line.is_empty()) {
                    let (name, value) = line.split_once(": ").unwrap();
                    match name.to_lowercase().as_str() {
                        "range" => {
                            let from = value.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
                            request.from = Some(from.parse().unwrap());
                        }
                        "if-range" => request.version = Some(value.to_owned()),
                        _ => {}
                    }
                }
                let n = seen.lock().unwrap().len();
                seen.lock().unwrap().push(request.clone());
                // The program may hang up first.
                stream.write_all(&answer(n, &request)).ok();
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("{}/{FILE}", self.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The first bytes that were asked for.
    fn starts(&self) -> Vec<Option<usize>> {
        self.requests().iter().map(|request| request.from).collect()
    }
}

/// An answer whose header speaks of `length` bytes of body.
fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn whole(body: &[u8]) -> Vec<u8> {
    answer("200 OK", "ETag: \"one\"\r\n", body.len(), body)
}

fn rest(body: &[u8], from: usize) -> Vec<u8> {
    let range = format!("ETag: \"one\"\r\nContent-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    answer("206 Partial Content", &range, body.len() - from, &body[from..])
}

/// The whole, or the rest that is asked for.
fn serve(body: &[u8], request: &Request) -> Vec<u8> {
    request.from.map_or_else(|| whole(body), |from| rest(body, from))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(bytes))
}

#[test]
fn a_file_is_fetched_recorded_and_used() {
    let (desk, body) = (Desk::new(), network());
    let sent = body.clone();
    let server = Server::new(move |_, request| serve(&sent, request));
    let folder = format!("{}/", server.address);
    desk.refuses(
        &["match", "a.jpg", "b.jpg", "--model", "mast3r", "-o", "m.png"],
        "steropes models fetch mast3r",
    );
    desk.refuses(&["models", "fetch", "mast3r", "--from", &folder], "non-commercial");
    assert!(server.requests().is_empty(), "nothing is fetched before the licence is accepted");
    let result = desk.json(&["models", "fetch", "mast3r", "--from", &folder, "--yes"]);
    assert_eq!(server.requests(), [Request { path: format!("/{FILE}"), from: None, version: None }]);
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
    assert_eq!(result["record"]["sha256"], sha256(&body));
    let record: Value =
        serde_json::from_slice(&std::fs::read(desk.path(&format!("cache/models/{FILE}.json"))).unwrap())
            .unwrap();
    assert_eq!(record, result["record"]);
    assert_eq!(record["source"], server.url());
    assert_eq!(record["bytes"], body.len());
    assert_eq!(record["licence"], "CC BY-NC-SA 4.0 (non-commercial)");
    assert_eq!(desk.entries().len(), 2, "{:?}", desk.entries());
    // Once more is nothing to do.
    desk.json(&["models", "fetch", "mast3r", "--from", &folder]);
    assert_eq!(server.requests().len(), 1);
    // The name now works wherever a model is taken, as does that of the published file.
    for name in ["mast3r", FILE, FILE.strip_suffix(".pth").unwrap()] {
        assert_eq!(desk.json(&["models", "inspect", name])["sha256"], sha256(&body), "{name}");
    }
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos/castle/photo_01.jpg");
    let photo = photo.to_str().unwrap();
    let args = ["infer", photo, photo, "--model", "mast3r", "--size", "64", "-o", "pair.safetensors"];
    assert_eq!(desk.json(&args)["model"], FILE.strip_suffix(".pth").unwrap());
    let list = desk.json(&["models", "list"]);
    let of = |name: &str| list["models"].as_array().unwrap().iter().find(|m| m["name"] == name).unwrap();
    assert_eq!(of("mast3r")["path"], json!(desk.cached()));
    assert_eq!((&of("mast3r")["sha256"], &of("dust3r-512-dpt")["path"]), (&Value::Null, &Value::Null));
    assert_eq!(of("steropes-tiny")["built_in"], true);
}

#[test]
fn a_cut_connection_is_continued() {
    let (desk, body) = (Desk::new(), network());
    let (sent, half) = (body.clone(), body.len() / 2);
    let server = Server::new(move |n, request| match n {
        0 => answer("200 OK", "ETag: \"one\"\r\n", sent.len(), &sent[..half]),
        _ => serve(&sent, request),
    });
    desk.json(&["models", "fetch", "mast3r", "--from", &server.url(), "--yes"]);
    assert_eq!(server.starts(), [None, Some(half)]);
    assert_eq!(server.requests()[1].version.as_deref(), Some("\"one\""));
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
    assert!(!desk.partial().exists());
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_ended() {
    let (desk, body) = (Desk::new(), network());
    let (sent, half) = (body.clone(), body.len() / 2);
    // Down after the first half; up again from the fifth request on.
    let server = Server::new(move |n, request| match n {
        0 => answer("200 OK", "ETag: \"one\"\r\n", sent.len(), &sent[..half]),
        1..4 => Vec::new(),
        _ => serve(&sent, request),
    });
    let fetch = ["models", "fetch", "mast3r", "--from", &server.url(), "--yes"];
    desk.refuses(&fetch, "mast3r");
    assert_eq!(server.starts(), [None, Some(half), Some(half), Some(half)]);
    assert_eq!(std::fs::read(desk.partial()).unwrap(), body[..half]);
    desk.json(&fetch);
    assert_eq!(server.starts()[4..], [Some(half)]);
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
}

#[test]
fn a_server_that_sends_no_ranges_or_another_version_sends_the_whole() {
    let (desk, body) = (Desk::new(), network());
    let (sent, half) = (body.clone(), body.len() / 2);
    let server = Server::new(move |n, _| match n {
        0 => answer("200 OK", "ETag: \"old\"\r\n", sent.len(), &vec![7; half]),
        _ => whole(&sent),
    });
    desk.json(&["models", "fetch", "mast3r", "--from", &server.url(), "--yes"]);
    assert_eq!(server.starts(), [None, Some(half)]);
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
}

#[test]
fn a_range_of_another_length_or_place_starts_over() {
    for (start, total) in [(0, 1), (1, 0)] {
        let (desk, body) = (Desk::new(), network());
        let (sent, half) = (body.clone(), body.len() / 2);
        let server = Server::new(move |n, request| match (n, request.from) {
            (0, _) => answer("200 OK", "", sent.len(), &sent[..half]),
            (1, Some(from)) => {
                let (from, all) = (from + start, sent.len() + total);
                let range = format!("Content-Range: bytes {from}-{}/{all}\r\n", sent.len() - 1);
                answer("206 Partial Content", &range, sent.len() - from, &sent[from..])
            }
            _ => serve(&sent, request),
        });
        desk.json(&["models", "fetch", "mast3r", "--from", &server.url(), "--yes"]);
        assert_eq!(server.starts(), [None, Some(half), None]);
        assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
    }
}

#[test]
fn a_server_may_send_less_than_was_asked_for() {
    let (desk, body) = (Desk::new(), network());
    let (sent, third) = (body.clone(), body.len() / 3);
    let server = Server::new(move |_, request| {
        let from = request.from.unwrap_or(0);
        let end = sent.len().min(from + third + 1);
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", end - 1, sent.len());
        match from {
            0 => answer("200 OK", "", sent.len(), &sent[..end]),
            _ => answer("206 Partial Content", &range, end - from, &sent[from..end]),
        }
    });
    desk.json(&["models", "fetch", "mast3r", "--from", &server.url(), "--yes"]);
    assert_eq!(server.starts(), [None, Some(third + 1), Some(2 * (third + 1))]);
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
}

#[test]
fn parts_of_two_addresses_are_joined_only_under_a_checksum() {
    let (body, hash) = (network(), sha256(&network()));
    let half = body.len() / 2;
    for (more, want) in [(vec![], None), (vec!["--sha256", hash.as_str()], Some(half))] {
        let (desk, sent) = (Desk::new(), body.clone());
        let broken = Server::new(move |n, _| match n {
            0 => answer("200 OK", "ETag: \"one\"\r\n", sent.len(), &sent[..half]),
            _ => answer("404 Not Found", "", 0, b""),
        });
        let sent = body.clone();
        let sound = Server::new(move |_, request| serve(&sent, request));
        let (first, second) = (broken.url(), sound.url());
        let args = ["models", "fetch", "mast3r", "--from", &first, "--from", &second, "--yes"];
        desk.json(&[&args[..], &more].concat());
        assert_eq!(sound.starts(), [want]);
        assert_eq!(sound.requests()[0].version, None);
        assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
    }
}

#[test]
fn wrong_files_get_no_name() {
    let (desk, body) = (Desk::new(), network());
    let fetch = |server: &Server, text: &str, more: &[&str]| {
        let url = server.url();
        let args = ["models", "fetch", "mast3r", "--from", &url, "--yes"];
        desk.refuses(&[&args[..], more].concat(), text);
        assert!(!desk.cached().exists());
    };
    let sent = body.clone();
    let server = Server::new(move |_, request| serve(&sent, request));
    let zeros = "0".repeat(64);
    fetch(&server, &format!("its SHA-256 must be {zeros}, got {}", sha256(&body)), &["--sha256", &zeros]);
    assert!(!desk.partial().exists(), "a whole file with a wrong checksum is no beginning of the right one");
    // Too short for what the server says, too short for a network, and no network at all.
    let sent = body.clone();
    let server = Server::new(move |_, request| match request.from {
        None => answer("200 OK", "", sent.len() + 10, &sent),
        Some(from) => {
            answer("206 Partial Content", &format!("Content-Range: bytes {from}-/{}\r\n", from + 10), 10, b"")
        }
    });
    fetch(&server, &format!("{} of {} bytes", body.len(), body.len() + 10), &[]);
    let sent = body[..body.len() - 1000].to_vec();
    fetch(&Server::new(move |_, _| whole(&sent)), "is no valid torch file", &["--force"]);
    fetch(&Server::new(|_, _| whole(b"<html>Please log in</html>")), "no valid safetensors file", &[]);
    let whitening = ["prewhiten.m", "prewhiten.p"].map(|name| (name.to_owned(), vec![1], vec![1.0]));
    let other = checkpoint("", &whitening, &[]);
    fetch(&Server::new(move |_, _| whole(&other)), "it holds retrieval instead of MASt3R", &[]);
    fetch(&Server::new(|_, _| answer("404 Not Found", "", 4, b"gone")), "404 Not Found", &[]);
    fetch(&Server::new(|_, _| answer("503 Service Unavailable", "", 0, b"")), "503", &[]);
    assert!(!desk.partial().exists());
}

#[test]
fn redirects_are_followed_and_mirrors_tried_in_turn() {
    let (desk, body) = (Desk::new(), network());
    let (sent, half) = (body.clone(), body.len() / 2);
    let server = Server::new(move |n, request| match n {
        _ if request.path != "/real" => answer("302 Found", "Location: /real\r\n", 0, b""),
        1 => answer("200 OK", "ETag: \"one\"\r\n", sent.len(), &sent[..half]),
        _ => serve(&sent, request),
    });
    let gone = Server::new(|_, _| answer("404 Not Found", "", 0, b""));
    let (first, second) = (gone.url(), server.url());
    desk.json(&[
        "models", "fetch", "mast3r", "--from", &first, "--from", "nowhere", "--from", &second, "--yes",
    ]);
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, [&format!("/{FILE}"), "/real", &format!("/{FILE}"), "/real"]);
    assert_eq!(server.requests()[3].from, Some(half), "a range survives a redirect");
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
    desk.refuses(
        &["models", "fetch", "mast3r", "--force", "--from", "nowhere", "--yes"],
        "cannot read `nowhere`",
    );
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body, "what was there stays");
}

#[test]
fn offline_only_folders_are_used() {
    let (desk, body) = (Desk::new(), network());
    let server = Server::new(|_, _| answer("404 Not Found", "", 0, b""));
    let url = server.url();
    desk.refuses(&["models", "fetch", "mast3r", "--yes", "--offline"], "the network may not be used");
    desk.refuses(
        &["models", "fetch", "mast3r", "--yes", "--offline", "--from", &url],
        "the network may not be used",
    );
    let by_variable = |value: &str| {
        let args = ["models", "fetch", "mast3r", "--yes", "--from", &url];
        let output = desk.command(&args).env("STEROPES_OFFLINE", value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = by_variable("1");
    assert!(code == Some(2) && stderr.contains("the network may not be used"), "{stderr}");
    assert!(server.requests().is_empty());
    assert!(by_variable("0").1.contains("404"));
    desk.write(&format!("stick/{FILE}"), &body);
    desk.json(&["models", "fetch", "mast3r", "--yes", "--offline", "--from", "stick"]);
    assert_eq!(std::fs::read(desk.cached()).unwrap(), body);
}

#[test]
fn what_makes_no_sense() {
    let desk = Desk::new();
    desk.refuses(&["models", "fetch", "mast3"], "no model `mast3` is known");
    desk.refuses(&["models", "fetch", "steropes-tiny"], "nothing to fetch");
    desk.refuses(&["models", "fetch", "dust3r-512-dpt", "--yes"], "https://github.com/naver/dust3r");
    desk.refuses(&["models", "fetch", "mast3r", "--yes", "--from", "ftp://x/y"], "`ftp` is not read");
    desk.refuses(&["models", "inspect", "nowhere"], "no model `nowhere`");
    desk.refuses(&["models", "verify", "dune-base-448"], "steropes models fetch dune-base-448");
    desk.refuses(&["models", "convert", "steropes-tiny", "-o", "x.safetensors"], "part of the program");
    desk.write("text.pth", "this is no network");
    desk.refuses(&["models", "inspect", "text.pth"], "text.pth");
    let output = desk.run(&["models", "fetch", "mast3r", "--sha256", "abc"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn changed_files_are_found() {
    let (desk, body) = (Desk::new(), network());
    desk.write(&format!("stick/{FILE}"), &body);
    let verify = |args: &[&str]| {
        let output = desk.run(&[&["models", "verify", "--json"], args].concat());
        let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), verdicts["models"].clone())
    };
    assert_eq!(verify(&[]), (Some(0), json!([])));
    desk.json(&["models", "fetch", "mast3r", "--yes", "--from", "stick"]);
    for args in [&[][..], &["mast3r"]] {
        let (code, verdicts) = verify(args);
        assert_eq!(
            (code, &verdicts[0]["checksum"], &verdicts[0]["problem"]),
            (Some(0), &json!("right"), &Value::Null)
        );
    }
    // A changed weight makes no worse a network.
    let changed = network_with(|name, values| {
        if name == "enc_norm.bias" {
            values[0] += 1.0;
        }
    });
    assert_eq!(changed.len(), body.len());
    std::fs::write(desk.cached(), &changed).unwrap();
    let (code, verdicts) = verify(&[]);
    assert_eq!((code, &verdicts[0]["checksum"]), (Some(1), &json!("wrong")));
    std::fs::write(desk.cached(), &body[..body.len() / 2]).unwrap();
    let (code, verdicts) = verify(&["mast3r"]);
    assert_eq!(
        (code, &verdicts[0]["checksum"]),
        (Some(1), &json!("wrong")),
        "also of a file that cannot be read"
    );
    // Files without a record: only the reader judges.
    desk.write("changed.pth", &changed);
    let (code, verdicts) = verify(&["changed.pth"]);
    assert_eq!((code, &verdicts[0]["checksum"]), (Some(0), &json!("unknown")));
    desk.write(
        "nan.pth",
        network_with(|name, values| {
            if name == "enc_norm.bias" {
                values[0] = f32::NAN;
            }
        }),
    );
    let (code, verdicts) = verify(&["nan.pth"]);
    let problem = verdicts[0]["problem"].as_str().unwrap();
    assert!(code == Some(1) && problem.contains("enc_norm.bias") && problem.contains("NaN"), "{problem}");
    let (code, verdicts) = verify(&["steropes-tiny"]);
    assert_eq!((code, &verdicts[0]["checksum"]), (Some(0), &json!("right")));
}

#[test]
fn files_are_described() {
    let desk = Desk::new();
    desk.write("net.pth", network());
    let about = desk.json(&["models", "inspect", "net.pth"]);
    assert_eq!((&about["holds"], &about["container"]), (&json!("MASt3R"), &json!("torch")));
    assert_eq!(about["config_source"], "args.model in the file");
    assert_eq!(about["hyper_parameters"]["encoder"], json!({ "width": 16, "depth": 1, "heads": 2 }));
    assert_eq!((about["aliases"].as_object().unwrap().len(), &about["aliases"][ALIAS]), (8, &json!(FIRST)));
    let values: usize = parameters(&TINY).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!((&about["parameters"], &about["element_types"]), (&json!(values), &json!({ "f32": values })));
    assert_eq!(about["bytes"], 4 * values);
    assert_eq!(about["network"], json!({ "is_complete": true, "problem": null }));
    assert!(about["licence"].as_str().unwrap().starts_with("not stated"));
    // What is missing and what is left over.
    let without: Vec<_> = parameters(&TINY)
        .into_iter()
        .map(|(name, shape)| {
            (name.replace("enc_norm.bias", "enc_norm.bogus"), shape.clone(), weight("", &name, &shape))
        })
        .collect();
    desk.write("less.pth", checkpoint(ARGS, &without, &[]));
    let problem = desk.json(&["models", "inspect", "less.pth"])["network"]["problem"].clone();
    assert!(problem.as_str().unwrap().contains("`enc_norm.bias` is missing"), "{problem}");
    let named = |names: &[&str]| {
        let tensors: Vec<_> = names.iter().map(|name| ((*name).to_owned(), vec![1], vec![0.5])).collect();
        desk.write("other.pth", checkpoint("", &tensors, &[]));
        let about = desk.json(&["models", "inspect", "other.pth"]);
        (about["holds"].as_str().unwrap().to_owned(), about["network"]["is_complete"].clone())
    };
    let other = |holds: &str| (holds.to_owned(), Value::Null);
    assert_eq!(named(&["target_encoder.x", "predictor.x"]), ("V-JEPA 2".to_owned(), json!(false)));
    assert_eq!(named(&["prewhiten.m", "prewhiten.p"]), other("retrieval"));
    let encoder = ["encoder.blocks.0.0.attn.qkv.weight", "encoder.patch_embed.proj.weight"];
    assert_eq!(named(&encoder), other("DUNE encoder"));
    let pair = named(&["mast3r.dec_blocks.0.x", "norm.weight"]);
    assert_eq!(pair, ("MASt3R on DUNE".to_owned(), json!(false)));
    desk.write("words.pkl", codebook());
    let about = desk.json(&["models", "inspect", "words.pkl"]);
    assert_eq!((&about["holds"], &about["parameters"]), (&json!("codebook of retrieval"), &json!(6)));
    assert_eq!(desk.json(&["models", "inspect", "steropes-tiny"])["network"]["is_complete"], true);
    let text = String::from_utf8(desk.run(&["models", "inspect", "net.pth"]).stdout).unwrap();
    assert!(text.contains(&format!("alias       {ALIAS} = {FIRST}")), "{text}");
}

/// A codebook of two words of three values, as numpy 2 pickles it.
fn codebook() -> Vec<u8> {
    let data: Vec<u8> = (0..6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let bytes = |pickle: Pickle| pickle.raw(b"C").raw(&[data.len() as u8]).raw(&data);
    let dtype = |pickle: Pickle| pickle.global("numpy", "dtype").raw(b"(").text("f4").raw(b"tR");
    let array = Pickle::default().raw(b"}").text("type").text("Codebook").raw(b"s").text("state").raw(b"}");
    let array = bytes(array.text("centroids").global("numpy._core.numeric", "_frombuffer").raw(b"("));
    dtype(array).ints(&[2, 3]).text("C").raw(b"tRss").end()
}

#[test]
fn converted_weights_are_the_same_network() {
    let desk = Desk::new();
    desk.write("net.pth", network());
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos/castle/photo_01.jpg");
    let photo = photo.to_str().unwrap();
    let outputs = |model: &str| {
        let args =
            ["infer", photo, photo, "--model", model, "--size", "64", "-o", "pair.safetensors", "--force"];
        desk.json(&args);
        let bytes = std::fs::read(desk.path("pair.safetensors")).unwrap();
        // The header names the model.
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> =
            file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    let original = outputs("net.pth");
    desk.json(&["models", "convert", "net.pth", "-o", "same/model.safetensors"]);
    assert!(outputs("same") == original && outputs("same/model.safetensors") == original);
    let about = desk.json(&["models", "inspect", "same"]);
    assert_eq!((&about["container"], &about["names"]), (&json!("safetensors"), &about["tensors"]));
    assert_eq!(about["network"]["is_complete"], true);
    let bytes = std::fs::read(desk.path("same/model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensor(FIRST).is_ok() && file.tensor(ALIAS).is_err(), "stored once, by the first name");
    desk.json(&["models", "convert", "net.pth", "-o", "again/model.safetensors"]);
    assert!(std::fs::read(desk.path("again/model.safetensors")).unwrap() == bytes, "equal bytes each time");
    for (to, element) in [("f16", "f16"), ("bf16", "bf16"), ("f32", "f32")] {
        let output = format!("{to}/model.safetensors");
        desk.json(&["models", "convert", "net.pth", "-o", &output, "--to", to]);
        let about = desk.json(&["models", "inspect", to]);
        assert_eq!(about["element_types"], json!({ element: about["parameters"] }));
        assert_eq!(outputs(to) == original, to == "f32");
        assert_eq!(about["network"]["is_complete"], true);
    }
    // The last layer of the descriptors is held one step finer.
    for (to, expected) in [("q8", ["bf16", "f32", "q8_0"]), ("q4", ["f32", "q4_0", "q8_0"])] {
        let output = format!("{to}/model.safetensors");
        desk.json(&["models", "convert", "net.pth", "-o", &output, "--precision", to]);
        let about = desk.json(&["models", "inspect", to]);
        let types = about["element_types"].as_object().unwrap();
        assert!(types.keys().eq(expected), "{types:?}");
        assert_eq!(types.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), about["parameters"]);
        assert_eq!((&about["network"]["is_complete"], &about["names"]), (&json!(true), &about["tensors"]));
        assert!(outputs(to) != original && outputs(to) == outputs(&output));
        assert_eq!(desk.run(&["models", "verify", to]).status.code(), Some(0));
    }
    let int8 = ["models", "convert", "net.pth", "-o", "int8.safetensors", "--precision", "int8"];
    desk.refuses(&int8, "the stored form of 8 bits is q8");
    // Once halved, nothing is lost on the way back.
    desk.json(&["models", "convert", "f16", "-o", "wide/model.safetensors", "--to", "f32"]);
    assert!(outputs("wide") == outputs("f16"));
}

/// One stack of decoder blocks under both names stays one.
#[test]
fn shared_subtrees_stay_shared() {
    let desk = Desk::new();
    let tensors: Vec<_> = parameters(&TINY)
        .into_iter()
        .filter(|(name, _)| !name.starts_with("dec_blocks2.") && !name.starts_with("downstream_head2."))
        .map(|(name, shape)| {
            let values = weight("", &name, &shape);
            (name, shape, values)
        })
        .collect();
    let second = |name: &str| {
        let other = name.replace("dec_blocks.", "dec_blocks2.").replace("_head1.", "_head2.");
        (other != name).then(|| (other, name.to_owned()))
    };
    let aliases: Vec<_> = tensors.iter().filter_map(|(name, ..)| second(name)).collect();
    desk.write("net.pth", checkpoint(ARGS, &tensors, &aliases));
    desk.json(&["models", "convert", "net.pth", "-o", "out/model.safetensors"]);
    let config: Value =
        serde_json::from_slice(&std::fs::read(desk.path("out/config.json")).unwrap()).unwrap();
    assert_eq!(
        config["tied"],
        json!({ "dec_blocks2": "dec_blocks", "downstream_head2": "downstream_head1" })
    );
    let about = desk.json(&["models", "inspect", "out"]);
    assert_eq!((&about["network"]["is_complete"], &about["names"]), (&json!(true), &json!(tensors.len())));
}

#[test]
fn conversions_that_are_refused() {
    let desk = Desk::new();
    desk.write("net.pth", network());
    let convert = |args: &[&str], text: &str| desk.refuses(&[&["models", "convert"], args].concat(), text);
    convert(&["net.pth", "-o", "net.bin"], "must end in .safetensors");
    desk.write(
        "large.pth",
        network_with(|name, values| {
            if name == "enc_norm.bias" {
                values[3] = 65520.0;
            }
        }),
    );
    convert(
        &["large.pth", "-o", "x.safetensors", "--to", "f16"],
        "`enc_norm.bias`: element 3 is 65520, too large for f16",
    );
    desk.json(&["models", "convert", "large.pth", "-o", "large/model.safetensors", "--to", "bf16"]);
    desk.write(
        "nan.pth",
        network_with(|name, values| {
            if name == "enc_norm.bias" {
                values[3] = f32::INFINITY;
            }
        }),
    );
    convert(&["nan.pth", "-o", "x.safetensors"], "element 3 is inf");
    desk.write("out/model.safetensors", "precious");
    convert(&["net.pth", "-o", "out/model.safetensors"], "--force");
    desk.write("other/config.json", "{}");
    convert(&["net.pth", "-o", "other/model.safetensors"], "config.json` exists");
    desk.json(&["models", "convert", "net.pth", "-o", "out/model.safetensors", "--force"]);
    convert(&["out", "-o", "out/model.safetensors", "--force"], "is the input");
    // A config.json that says the same is no obstacle.
    desk.json(&["models", "convert", "out", "-o", "out/half.safetensors", "--to", "f16"]);
    desk.write("words.pkl", codebook());
    convert(&["words.pkl", "-o", "x.safetensors"], "is a codebook");
    let whitening = ["prewhiten.m", "prewhiten.p"].map(|name| (name.to_owned(), vec![1], vec![1.0]));
    desk.write("retrieval.pth", checkpoint("", &whitening, &[]));
    convert(&["retrieval.pth", "-o", "x.safetensors", "--to", "f16"], "leave out --to");
    desk.write("evil.pth", {
        let call = Pickle::default().global("os", "system").raw(b"(").text("touch ran").raw(b"tR").end();
        archive(&[("a/data.pkl", call)])
    });
    convert(&["evil.pth", "-o", "x.safetensors"], "`os.system`");
    assert!(!desk.path("ran").exists());
    let output = desk.run(&["models", "convert", "net.pth", "-o", "x.safetensors", "--to", "q5"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn examples_and_completions_know_the_command() {
    let desk = Desk::new();
    for command in ["list", "inspect", "convert", "fetch", "verify"] {
        let help = String::from_utf8(desk.run(&["models", command, "--help"]).stdout).unwrap();
        assert!(help.contains(&format!("Examples:\n  steropes models {command}")), "{help}");
        let completions = String::from_utf8(desk.run(&["completions", "bash"]).stdout).unwrap();
        assert!(
            completions.contains(&format!("steropes__models__{command}"))
                || completions.contains(&format!("steropes__subcmd__models__subcmd__{command}")),
            "{command}"
        );
    }
}
