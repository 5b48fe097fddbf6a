//! The settings of an engine, in a program or in a file.

use crate::{Config, Model, ModelError, Place, Precision, locate};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

/// The settings of an [`Engine`](super::Engine). What is not given has its default; a key that is not one of these is refused.
///
/// In a file (YAML or TOML, by its name) the keys are the names of the fields:
///
/// ```yaml
/// model: mast3r          # a name of `steropes models list`, a file or a folder; steropes-tiny if not given
/// device: gpu
/// precision: f16         # f32, f16 (GPU), bf16, int8, q8, q4 (CPU) or auto
/// image_size: 512        # pixels
/// threads: 4
/// memory: 4G             # or a number of bytes
/// batch_size: 8
/// matching:
///   top_k: 1024
///   threshold: 0.8
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The network: a known name, a weight file, or a folder with one.
    pub model: String,
    /// The device, as [`steropes_tensor::Device::select`] takes it; `auto` if not given.
    pub device: Option<String>,
    /// The element type of weights.
    #[serde(deserialize_with = "text")]
    pub precision: Precision,
    /// Longest side of an image in pixels, 64 to 4096. Larger images are refused.
    #[serde(deserialize_with = "image_size")]
    pub image_size: u32,
    /// Threads that CPU work of the engine runs on, 1 to 1024, of a pool of its own; those of the caller if not given.
    #[serde(deserialize_with = "threads")]
    pub threads: Option<usize>,
    /// Most bytes that tensors may use on a GPU; all it has if not given. In a file also as `4G` or `500M`.
    #[serde(deserialize_with = "memory")]
    pub memory: Option<u64>,
    /// Most images or pairs that the network takes at once, 1 to 1024; if not given 8 on a GPU, where more at once are faster, and 1 on the
    /// CPU, where they are not.
    #[serde(deserialize_with = "batch_size")]
    pub batch_size: Option<usize>,
    /// Whether a GPU is waited for after every stage, so that timings are its own; see [`Timings`](super::Timings).
    pub exact_timings: bool,
    /// How pixels are matched.
    pub matching: MatchOptions,
}

/// How [`Engine::match_pair`](super::Engine::match_pair) matches pixels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchOptions {
    /// Most matches that are kept, those with the highest confidence; at least 1.
    #[serde(deserialize_with = "top_k")]
    pub top_k: usize,
    /// Whether a match must be the nearest in both directions.
    pub reciprocal: bool,
    /// Least similarity of the two descriptors, their dot product: -1 to 1.
    #[serde(deserialize_with = "threshold")]
    pub threshold: f32,
    /// Distance in pixels between those of the first image for which a match is looked for, both ways; they are compared with all pixels
    /// of the second. 1 looks for all, at the square of the cost of 2.
    #[serde(deserialize_with = "subsample")]
    pub subsample: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            model: Model::EMBEDDED.to_owned(),
            device: None,
            precision: Precision::Auto,
            image_size: 384,
            threads: None,
            memory: None,
            batch_size: None,
            exact_timings: false,
            matching: MatchOptions::default(),
        }
    }
}

impl Default for MatchOptions {
    fn default() -> Self {
        Self { top_k: 512, reciprocal: true, threshold: 0.5, subsample: 4 }
    }
}

const THREADS: RangeInclusive<usize> = 1..=1024;
const BATCH_SIZE: RangeInclusive<usize> = 1..=1024;
const TOP_K: RangeInclusive<usize> = 1..=1 << 24;
const THRESHOLD: RangeInclusive<f32> = -1.0..=1.0;
const SUBSAMPLE: RangeInclusive<usize> = 1..=1024;

impl EngineConfig {
    /// What [`EngineConfig::image_size`] may be. Beyond, the attention of a network needs more memory than a computer has.
    pub const IMAGE_SIZES: RangeInclusive<u32> = 64..=4096;

    /// The settings in a file whose name ends in `.yaml`, `.yml` or `.toml`.
    ///
    /// # Errors
    /// [`ModelError::SettingsFile`], or as [`EngineConfig::from_yaml`].
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let file = path.display().to_string();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let parse = match ending {
            "yaml" | "yml" => Self::from_yaml,
            "toml" => Self::from_toml,
            _ => return Err(setting(Some(&file), None, "", "the name must end in .yaml, .yml or .toml")),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ModelError::SettingsFile { file: file.clone(), source })?;
        parse(&file, &text)
    }

    /// The settings in a YAML text; `file` stands for it in messages.
    ///
    /// # Errors
    /// [`ModelError::Setting`] with the key and the line, for an unknown key, one that is given twice, and a value that is out of its
    /// range or of another type.
    pub fn from_yaml(file: &str, text: &str) -> Result<Self, ModelError> {
        let mut key = String::new();
        let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                key = path_of(&error);
                error.into_inner()
            })
        });
        read.map_err(|error| {
            let line =
                error.location().and_then(|at| usize::try_from(at.line()).ok()).filter(|&line| line > 0);
            let text = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let problem = text.lines().next().unwrap_or_default();
            let problem = problem.rsplit_once(" at line ").map_or(problem, |(problem, _)| problem);
            setting(Some(file), line, &key, problem)
        })
    }

    /// The settings in a TOML text; `file` stands for it in messages.
    ///
    /// # Errors
    /// As [`EngineConfig::from_yaml`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ModelError> {
        let failed = |key: &str, error: &toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            setting(Some(file), line, key, error.message())
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|error| failed("", &error))?;
        serde_path_to_error::deserialize(deserializer)
            .map_err(|error| failed(&path_of(&error), error.inner()))
    }

    /// Whether all values are in their ranges; for settings that no file was read for.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for the first that is not.
    pub fn check(&self) -> Result<(), ModelError> {
        let of = |value: Option<usize>, range| value.map_or(Ok(()), |value| in_range(value, range));
        named(&[
            ("image_size", in_range(self.image_size, &EngineConfig::IMAGE_SIZES)),
            ("threads", of(self.threads, &THREADS)),
            ("batch_size", of(self.batch_size, &BATCH_SIZE)),
        ])?;
        self.matching.check()
    }

    /// Where the weights lie.
    ///
    /// # Errors
    /// As [`locate`].
    pub fn place(&self) -> Result<Place, ModelError> {
        locate(&self.model)
    }

    /// The configuration of the network, without its weights.
    ///
    /// # Errors
    /// As [`locate`] and [`Config::open`].
    pub fn network(&self) -> Result<Config, ModelError> {
        self.place()?.config()
    }
}

impl MatchOptions {
    /// Whether all values are in their ranges.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for the first that is not.
    pub fn check(&self) -> Result<(), ModelError> {
        named(&[
            ("matching.top_k", in_range(self.top_k, &TOP_K)),
            ("matching.threshold", in_range(self.threshold, &THRESHOLD)),
            ("matching.subsample", in_range(self.subsample, &SUBSAMPLE)),
        ])
    }
}

/// The first problem, under its key.
fn named(checks: &[(&str, Result<(), String>)]) -> Result<(), ModelError> {
    for (key, checked) in checks {
        checked.as_ref().map_err(|problem| setting(None, None, key, problem))?;
    }
    Ok(())
}

/// A number of bytes such as `4G`, `500M`, `1.5GiB` or `1000000`; the units are powers of 1024.
///
/// # Errors
/// In words, what such a text must be.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "must be a number with k, M, G or T behind it, as 4G".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let power = ["", "k", "m", "g", "t"].iter().position(|u| *u == unit).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * 1024f64.powi(power as i32);
    if bytes < 1.0 {
        return Err("must be at least one byte".to_owned());
    }
    Ok(bytes as u64)
}

fn setting(file: Option<&str>, line: Option<usize>, key: &str, problem: &str) -> ModelError {
    ModelError::Setting {
        file: file.map(str::to_owned),
        line,
        key: key.to_owned(),
        problem: problem.to_owned(),
    }
}

/// The path of what could not be read; empty where that is the text as a whole or the reader does not say.
fn path_of<E>(error: &serde_path_to_error::Error<E>) -> String {
    Some(error.path().to_string()).filter(|path| !path.ends_with(['.', '?'])).unwrap_or_default()
}

fn in_range<T: PartialOrd + Display>(value: T, range: &RangeInclusive<T>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("must be {} to {}, got {value}", range.start(), range.end()))
}

fn within<'de, T, D>(deserializer: D, range: &RangeInclusive<T>) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PartialOrd + Display + Copy,
    D: Deserializer<'de>,
{
    let value = T::deserialize(deserializer)?;
    in_range(value, range).map_err(D::Error::custom)?;
    Ok(value)
}

fn image_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, &EngineConfig::IMAGE_SIZES)
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    within(deserializer, &THREADS).map(Some)
}

fn batch_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    within(deserializer, &BATCH_SIZE).map(Some)
}

fn top_k<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, &TOP_K)
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    within(deserializer, &THRESHOLD)
}

fn subsample<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, &SUBSAMPLE)
}

/// A value that is written as a text.
fn text<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Bytes;
    impl serde::de::Visitor<'_> for Bytes {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number of bytes, or one with k, M, G or T behind it, as 4G")
        }

        fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
            if bytes == 0 { Err(E::custom("must be at least one byte")) } else { Ok(bytes) }
        }

        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
            self.visit_u64(u64::try_from(bytes).map_err(|_| E::custom("must be at least one byte"))?)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            parse_bytes(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "\
model: mast3r
device: gpu:1
precision: f16
image_size: 512
threads: 4
memory: 4G
batch_size: 3
exact_timings: true
matching:
  top_k: 100
  reciprocal: false
  threshold: 0.25
  subsample: 1
";
    const TOML: &str = "\
model = 'mast3r'
device = 'gpu:1'
precision = 'f16'
image_size = 512
threads = 4
memory = 4294967296
batch_size = 3
exact_timings = true

[matching]
top_k = 100
reciprocal = false
threshold = 0.25
subsample = 1
";

    #[test]
    fn both_formats_say_the_same() {
        let want = EngineConfig {
            model: "mast3r".to_owned(),
            device: Some("gpu:1".to_owned()),
            precision: Precision::F16,
            image_size: 512,
            threads: Some(4),
            memory: Some(4 << 30),
            batch_size: Some(3),
            exact_timings: true,
            matching: MatchOptions { top_k: 100, reciprocal: false, threshold: 0.25, subsample: 1 },
        };
        assert_eq!(EngineConfig::from_yaml("e.yaml", YAML).unwrap(), want);
        assert_eq!(EngineConfig::from_toml("e.toml", TOML).unwrap(), want);
        want.check().unwrap();
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        for text in ["", "# nothing\n", "\n"] {
            assert_eq!(EngineConfig::from_yaml("e.yaml", text).unwrap(), EngineConfig::default(), "{text:?}");
            assert_eq!(EngineConfig::from_toml("e.toml", text).unwrap(), EngineConfig::default(), "{text:?}");
        }
        let some = EngineConfig::from_yaml("e.yaml", "matching: { top_k: 7 }").unwrap();
        assert_eq!(some.matching, MatchOptions { top_k: 7, ..MatchOptions::default() });
        EngineConfig::default().check().unwrap();
    }

    /// The key, the line, and a part of the message.
    #[track_caller]
    fn refuses(result: Result<EngineConfig, ModelError>, want: (&str, Option<usize>, &str)) {
        let error = result.unwrap_err();
        let text = error.to_string();
        let ModelError::Setting { line, key, problem, .. } = error else { panic!("{text}") };
        assert_eq!((key.as_str(), line), (want.0, want.1), "{text}");
        assert!(problem.contains(want.2) && !text.contains('\n'), "{text}");
    }

    #[test]
    fn bad_yaml_is_refused_with_key_and_line() {
        let yaml = |text| EngineConfig::from_yaml("e.yaml", text);
        refuses(yaml("model: a\ntreads: 3\n"), ("treads", Some(2), "treads"));
        refuses(yaml("model: a\nmatching:\n  topk: 3\n"), ("matching.topk", Some(3), "topk"));
        refuses(yaml("threads: 0\n"), ("threads", Some(1), "must be 1 to 1024, got 0"));
        refuses(yaml("\nthreads: many\n"), ("threads", Some(2), "invalid u64"));
        refuses(
            yaml("model: a\n\nmatching:\n  threshold: 1.5\n"),
            ("matching.threshold", Some(4), "got 1.5"),
        );
        refuses(yaml("matching:\n  threshold: .nan\n"), ("matching.threshold", Some(2), "got NaN"));
        refuses(yaml("image_size: 32\n"), ("image_size", Some(1), "must be 64 to 4096"));
        refuses(
            yaml("precision: f64\n"),
            ("precision", Some(1), "must be f32, f16, bf16, int8, q8, q4 or auto"),
        );
        refuses(yaml("memory: lots\n"), ("memory", Some(1), "as 4G"));
        refuses(yaml("memory: 0\n"), ("memory", Some(1), "at least one byte"));
        refuses(
            yaml("threads: 2\nthreads: 3\n"),
            ("", Some(2), "duplicate mapping key `threads` is not allowed"),
        );
        assert!(yaml("model: [a\n").is_err() && yaml("- 3\n").is_err() && yaml("just words").is_err());
    }

    #[test]
    fn bad_toml_is_refused_with_key_and_line() {
        let toml = |text| EngineConfig::from_toml("e.toml", text);
        refuses(toml("model = 'a'\ntreads = 3\n"), ("treads", Some(2), "treads"));
        refuses(toml("model = 'a'\n[matching]\ntopk = 3\n"), ("matching.topk", Some(3), "topk"));
        refuses(toml("threads = 0\n"), ("threads", Some(1), "must be 1 to 1024, got 0"));
        refuses(toml("\n[matching]\nthreshold = 1.5\n"), ("matching.threshold", Some(3), "got 1.5"));
        refuses(toml("memory = -1\n"), ("memory", Some(1), "at least one byte"));
        refuses(toml("threads = 2\nthreads = 3\n"), ("", Some(2), "duplicate"));
        refuses(toml("threads = \n"), ("", Some(1), ""));
    }

    #[test]
    fn settings_of_a_program_are_checked_too() {
        let config = EngineConfig { threads: Some(0), ..EngineConfig::default() };
        assert_eq!(config.check().unwrap_err().to_string(), "`threads`: must be 1 to 1024, got 0");
        let matching = MatchOptions { threshold: f32::NAN, ..MatchOptions::default() };
        let config = EngineConfig { matching, ..EngineConfig::default() };
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "`matching.threshold`: must be -1 to 1, got NaN");
    }

    #[test]
    fn files_are_read_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            EngineConfig::read(&path)
        };
        assert_eq!(write("a.yaml", YAML).unwrap(), write("a.toml", TOML).unwrap());
        assert_eq!(write("a.yml", "").unwrap(), EngineConfig::default());
        assert!(write("a.json", "{}").unwrap_err().to_string().contains("must end in .yaml"));
        let error = EngineConfig::read(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read `") && error.contains("none.toml"), "{error}");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, want) in [
            ("4G", 4u64 << 30),
            ("4GiB", 4 << 30),
            ("500M", 500 << 20),
            ("1.5 gb", 3 << 29),
            ("64k", 64 << 10),
            ("1000", 1000),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), want, "{text}");
        }
        for text in ["", "G", "4X", "-1", "0", "1.2.3G"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
