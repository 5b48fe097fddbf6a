//! `steropes models inspect`.

use super::contents::{Contents, describe, describe_video, is_built, is_pair_network, network_problem};
use crate::Common;
use crate::model_store::{Place, Record, locate};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use steropes_models::mast3r::{EncoderKind, HeadKind, Trunk};
use steropes_models::vjepa2::{self, OpenOptions, Source};
use steropes_models::{Config, ConfigSource, Holds, KnownModel, Licence, Model};
use steropes_nn::{Checkpoint, Family};

/// Say what a weight file holds
///
/// The kind of network, its extents and where they are written, numbers of weights and their types, names of one tensor,
/// licence and checksum; and whether the network, for pairs of photos or for video, can be built from it, by building it on the CPU.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models inspect weights.pth
  steropes models inspect folder/ --json
  steropes models inspect steropes-tiny")]
pub(crate) struct Args {
    /// A known name, a file or a folder
    #[arg(value_name = "NAME|PATH")]
    model: String,
}

/// What is said about a file.
struct Report {
    path: Option<String>,
    holds: Holds,
    container: String,
    config_source: String,
    config: Option<Settings>,
    names: usize,
    aliases: Vec<(String, String)>,
    parameters: u64,
    element_types: BTreeMap<String, u64>,
    bytes: u64,
    licence: String,
    sha256: String,
    /// Whether the network can be built, and why not; `None` for what no network is built from.
    network: Option<Result<(), String>>,
}

/// The hyper-parameters of a network.
enum Settings {
    Pairs(Config),
    Video(vjepa2::Config),
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let report = match locate(&args.model)? {
        Place::Embedded => embedded()?,
        Place::Path(path, known) => examine(&path, known)?,
    };
    if common.json {
        writeln!(out, "{:#}", report.to_json())?;
    } else {
        report.write(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn embedded() -> anyhow::Result<Report> {
    let (_, weights) = Model::embedded_files();
    let contents = Contents::Weights(Checkpoint::from_bytes(Model::EMBEDDED, weights)?);
    let sha256 = contents.sha256(Path::new(Model::EMBEDDED))?;
    let Contents::Weights(checkpoint) = contents else { unreachable!("opened as weights") };
    let built = Model::embedded(&steropes_tensor::Device::cpu(), steropes_models::Precision::F32);
    Ok(Report {
        path: None,
        config_source: "part of the program".to_owned(),
        config: Some(Settings::Pairs(Config::embedded())),
        licence: Licence::Apache2.to_string(),
        network: Some(built.map(|_| ()).map_err(|error| error.to_string())),
        ..of_weights(&checkpoint, sha256)
    })
}

fn examine(path: &Path, known: Option<&KnownModel>) -> anyhow::Result<Report> {
    let contents = Contents::open(path)?;
    let sha256 = contents.sha256(path)?;
    let shown = Some(path.display().to_string());
    let by_file = || KnownModel::find(path.file_name()?.to_str()?);
    let known = known.or_else(by_file);
    let recorded = Record::beside(path)?.map(|record| record.licence);
    let terms = recorded.or_else(|| known.map(|known| known.licence.to_string()));
    let checkpoint = match contents {
        Contents::Weights(checkpoint) => checkpoint,
        Contents::Codebook(codebook) => {
            let values = (codebook.size * codebook.width) as u64;
            return Ok(Report {
                path: shown,
                holds: Holds::Codebook,
                container: format!("pickle, {} words of width {}", codebook.size, codebook.width),
                config_source: ConfigSource::None.to_string(),
                config: None,
                names: 1,
                aliases: Vec::new(),
                parameters: values,
                element_types: BTreeMap::from([("f32".to_owned(), values)]),
                bytes: 4 * values,
                licence: terms.unwrap_or_else(|| "not stated".to_owned()),
                sha256,
                network: None,
            });
        }
    };
    let source = ConfigSource::of(&checkpoint, path);
    let family = checkpoint.summary().family;
    // Whatever lies beside weights of another kind does not describe them.
    let config = match family {
        Family::VJepa => video_settings(path).map(Settings::Video),
        _ if is_pair_network(family) => Config::of(&checkpoint, path).ok().map(Settings::Pairs),
        _ => None,
    };
    let stated = match &config {
        Some(Settings::Pairs(config)) => config.licence.clone(),
        _ => None,
    };
    Ok(Report {
        path: shown,
        config_source: source.to_string(),
        licence: stated.or(terms).unwrap_or_else(|| presumed(family).to_owned()),
        network: is_built(family).then(|| network_problem(path, family).map_or(Ok(()), Err)),
        config,
        ..of_weights(&checkpoint, sha256)
    })
}

/// The hyper-parameters of the network of video at `path`, if they are known.
fn video_settings(path: &Path) -> Option<vjepa2::Config> {
    let options = OpenOptions::default();
    let source = Source::open(path, options.encoder).ok()?;
    vjepa2::Config::of(&source, &options).ok()
}

fn of_weights(checkpoint: &Checkpoint, sha256: String) -> Report {
    let summary = checkpoint.summary();
    Report {
        path: None,
        holds: Holds::Weights(summary.family),
        container: summary.container.to_string(),
        config_source: String::new(),
        config: None,
        names: summary.names,
        aliases: checkpoint.aliases().map(|(name, first)| (name.to_owned(), first.to_owned())).collect(),
        parameters: summary.parameters,
        element_types: summary.element_types,
        bytes: summary.bytes,
        licence: String::new(),
        sha256,
        network: None,
    }
}

/// What is to be said where no licence is stated.
fn presumed(family: Family) -> &'static str {
    match family {
        Family::Mast3r | Family::Dust3r | Family::Croco | Family::Retrieval => {
            "not stated; those that Naver publishes are CC BY-NC-SA 4.0 (non-commercial)"
        }
        Family::DuneEncoder | Family::DuneMast3r => {
            "not stated; those that Naver publishes are under the DUNE licence (non-commercial)"
        }
        Family::VJepa => {
            "not stated; those that Meta publishes are under MIT or Apache-2.0, as their pages say"
        }
        Family::Unknown => "not stated",
    }
}

impl Report {
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut line = |what: &str, text: &str| writeln!(out, "{what:11} {text}");
        line("holds", &format!("{} ({})", self.holds, self.container))?;
        if let Some(path) = &self.path {
            line("path", path)?;
        }
        match &self.config {
            Some(Settings::Pairs(config)) => {
                line("extents", &describe(config))?;
                line("head", &head(config))?;
            }
            Some(Settings::Video(config)) => line("extents", &describe_video(config))?,
            None => {}
        }
        line("config", &self.config_source)?;
        let types: Vec<String> =
            self.element_types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let tensors = self.names - self.aliases.len();
        line("parameters", &format!("{} in {tensors} tensors ({})", self.parameters, types.join(", ")))?;
        line("bytes", &self.bytes.to_string())?;
        for (name, first) in &self.aliases {
            line("alias", &format!("{name} = {first}"))?;
        }
        line("licence", &self.licence)?;
        line("SHA-256", &self.sha256)?;
        line(
            "network",
            &match &self.network {
                None => format!("{} is no network that this program runs", self.holds),
                Some(Ok(())) => "complete, nothing left over".to_owned(),
                Some(Err(problem)) => format!("cannot be built: {problem}"),
            },
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "path": self.path,
            "holds": self.holds.to_string(),
            "container": self.container,
            "config_source": self.config_source,
            "hyper_parameters": self.config.as_ref().map(Settings::to_json),
            "names": self.names,
            "tensors": self.names - self.aliases.len(),
            "aliases": self.aliases.iter().cloned().collect::<BTreeMap<_, _>>(),
            "parameters": self.parameters,
            "element_types": self.element_types,
            "bytes": self.bytes,
            "licence": self.licence,
            "sha256": self.sha256,
            "network": self.network.as_ref().map(|built| json!({
                "is_complete": built.is_ok(),
                "problem": built.as_ref().err(),
            })),
        })
    }
}

fn head(config: &Config) -> String {
    match config.head {
        HeadKind::Linear => "linear".to_owned(),
        HeadKind::Dpt => "DPT".to_owned(),
        HeadKind::DptWithFeatures { descriptor_dim, .. } => {
            format!("DPT, and descriptors of {descriptor_dim} channels")
        }
    }
}

impl Settings {
    fn to_json(&self) -> Value {
        match self {
            Self::Pairs(config) => hyper_parameters(config),
            Self::Video(config) => video_parameters(config),
        }
    }
}

fn video_parameters(config: &vjepa2::Config) -> Value {
    let trunk = |t: Trunk, hidden: usize| json!({ "width": t.width, "depth": t.depth, "heads": t.heads, "hidden": hidden });
    json!({
        "version": if config.is_2_1() { "2.1" } else { "2.0" },
        "patch_size": config.patch_size,
        "tubelet": config.tubelet,
        "crop_size": config.crop_size,
        "frames_per_clip": config.frames_per_clip,
        "encoder": trunk(config.encoder, config.hidden),
        "predictor": config.predictor.map(|p| trunk(p.trunk, p.hidden)),
        "mask_tokens": config.predictor.map(|p| p.mask_tokens),
        "norm_eps": config.norm_eps,
        "levels": config.levels,
    })
}

fn hyper_parameters(config: &Config) -> Value {
    let trunk = |t: Trunk| json!({ "width": t.width, "depth": t.depth, "heads": t.heads });
    let encoder = match config.encoder {
        EncoderKind::Croco(encoder) => trunk(encoder),
        EncoderKind::Dune { width, heads } => json!({ "kind": "DUNE", "width": width, "heads": heads }),
    };
    json!({
        "patch_size": config.patch_size,
        "encoder": encoder,
        "decoder": trunk(config.decoder),
        "mlp_ratio": config.mlp_ratio,
        "rope_base": config.rope_base,
        "norm_eps": config.norm_eps,
        "head": head(config),
        "depth_mode": format!("{:?}", config.depth_mode),
        "confidence_mode": format!("{:?}", config.confidence_mode),
        "tied": config.tied.iter().cloned().collect::<BTreeMap<_, _>>(),
        "square_ok": config.square_ok,
        "training_sizes": config.training_sizes,
    })
}
