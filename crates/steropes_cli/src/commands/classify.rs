//! `steropes classify`.

use super::embed::placement;
use crate::Common;
use crate::clips::{Clips, SeenClip};
use crate::profile::profiled;
use crate::progress::Progress;
use crate::video::{ClipArgs, Network, SourceArgs, check_outputs};
use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steropes_models::vjepa2::{Classifier, ProbeOptions, Tokens, join_tokens, mean_probabilities};
use steropes_scene::reconstruct::Monitor as _;
use steropes_testkit::floats;

/// Say what happens in a video
///
/// The classifier is that of the model, if it holds one, or a file of probes. It sees the tokens of --segments clips together; its scores are means of
/// probabilities over views, and for the whole video over all clips.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes classify jump.mp4 --model vjepa2-vitl-fpc16-256-ssv2/
  steropes classify jump.mp4 --model vjepa2-large --probe ssv2-vitl-16x2x3.pt --frame-step 4 --segments 2 --crop views-3 --json")]
pub(crate) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    clips: ClipArgs,
    /// A .pt file of probes, or a folder with a classification model, for the encoder of --model; that of --model itself if not given
    #[arg(long, value_name = "FILE|FOLDER")]
    probe: Option<PathBuf>,
    /// Which of the classifiers that a file of probes lists, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    probe_index: usize,
    /// Heads of the classifier's pooler, which show in no file: 16 of official files and as many as the encoder has in others if not given
    #[arg(long, value_name = "N")]
    probe_heads: Option<usize>,
    /// So many clips, one after the other, are seen together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    segments: u32,
    /// How many classes to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Time every launch on the GPU: a table on standard error, and a trace for ui.perfetto.dev in this file (- for standard output)
    #[arg(long, value_name = "FILE|-")]
    profile: Option<PathBuf>,
    /// Replace an existing trace
    #[arg(long)]
    force: bool,
}

/// What was seen in some clips together.
struct Verdict {
    /// First and last time in seconds.
    span: [f64; 2],
    /// Probabilities of each kind of class.
    probabilities: Vec<Vec<f64>>,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    check_outputs(common, args.profile.as_deref())?;
    let path = args.clips.weights("classify")?;
    let progress = Progress::new(!common.quiet);
    let opened = args.source.open()?;
    progress.begin("model", 1);
    let network = args.clips.load(path)?;
    let classifier = load_classifier(args, &network)?;
    progress.step();
    progress.end();
    progress.follow(network.model.device());
    let mut clips = args.clips.clips(opened, network.preprocess)?;
    let device = network.model.device().clone();
    let work = || classify(args, &network, &classifier, &mut clips, &progress);
    let verdicts = profiled(args.profile.as_deref(), args.force, &device, out, work)?;
    let whole = mean(&verdicts);
    if common.json {
        let list = |probabilities: &[Vec<f64>]| listed(args, &classifier, probabilities);
        let segments: Vec<Value> = verdicts
            .iter()
            .map(|v| json!({ "start": v.span[0], "end": v.span[1], "top": list(&v.probabilities) }))
            .collect();
        let result = json!({
            "source": args.source.source,
            "model": network.describe(),
            "device": network.model.device().name(),
            "precision": network.model.precision().to_string(),
            "preprocess": args.clips.describe(&network.preprocess),
            "placement": placement(&clips),
            "top": list(&whole),
            "segments": segments,
            "stages": progress.records(),
        });
        writeln!(out, "{result:#}")?;
    } else {
        write_table(args, &classifier, &whole, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The classifier of the probe or of the model itself, on the device of the model.
fn load_classifier(args: &Args, network: &Network) -> anyhow::Result<Classifier> {
    let path = args.probe.as_ref().unwrap_or(&network.path);
    let options = ProbeOptions { index: args.probe_index, heads: args.probe_heads };
    let classifier = Classifier::open(path, network.model.device(), args.clips.precision(), &options);
    let classifier = if args.probe.is_none() {
        classifier.context("the model brings no classifier: give one with --probe")?
    } else {
        classifier?
    };
    let (own, wanted) = (classifier.pooler().config().width, network.model.config().encoder.width);
    if own != wanted {
        bail!(
            "`{}` takes tokens of {own} values, but the encoder gives {wanted}: give the probe that belongs to the model",
            path.display()
        );
    }
    Ok(classifier)
}

/// Looks at all clips, `--segments` of them together.
fn classify(
    args: &Args,
    network: &Network,
    classifier: &Classifier,
    clips: &mut Clips,
    progress: &Progress,
) -> anyhow::Result<Vec<Verdict>> {
    let together = args.segments as usize;
    progress.begin("classify", clips.expected());
    let mut verdicts = Vec::new();
    loop {
        let mut tokens = Vec::new();
        let mut span: Option<[f64; 2]> = None;
        while tokens.len() < together
            && let Some(clip) = clips.next_clip()?
        {
            let [first, last] = [clip.times[0], clip.times[clip.times.len() - 1]];
            span = Some([span.map_or(first, |span| span[0]), last]);
            tokens.push(tokens_of(network, &clip)?);
            progress.step();
        }
        let Some(span) = span else { break };
        let joined = join_tokens(&tokens.iter().collect::<Vec<_>>())?;
        let mut probabilities = Vec::new();
        for logits in classifier.logits(&joined)? {
            let values = floats(&logits.values).map_err(anyhow::Error::msg).context("reading the scores")?;
            if values.iter().any(|v| !v.is_finite()) {
                bail!("the scores hold NaN or infinity: try --precision f32");
            }
            let classes = logits.values.shape()[1];
            let views: Vec<Vec<f32>> = values.chunks_exact(classes).map(<[f32]>::to_vec).collect();
            probabilities.push(mean_probabilities(&views));
        }
        verdicts.push(Verdict { span, probabilities });
    }
    progress.end();
    if verdicts.is_empty() {
        bail!("`{}` has no frames", args.source.source);
    }
    Ok(verdicts)
}

fn tokens_of(network: &Network, clip: &SeenClip) -> anyhow::Result<Tokens> {
    Ok(network.features(&clip.views, [clip.times.len(), clip.size[0], clip.size[1]])?)
}

/// The mean over all that was seen.
fn mean(verdicts: &[Verdict]) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> =
        verdicts[0].probabilities.iter().map(|kind| vec![0.0; kind.len()]).collect();
    for verdict in verdicts {
        for (sum, kind) in sums.iter_mut().zip(&verdict.probabilities) {
            sum.iter_mut().zip(kind).for_each(|(sum, p)| *sum += p / verdicts.len() as f64);
        }
    }
    sums
}

/// Class and probability of the most probable classes; of equal ones the lower number first.
fn top(probabilities: &[f64], count: usize) -> Vec<(usize, f64)> {
    let mut order: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(count);
    order
}

/// What a class is called, if the model says it.
fn label(classifier: &Classifier, class: usize) -> Option<&str> {
    classifier.labels()?.get(class).map(String::as_str)
}

/// The most probable classes of each kind.
fn listed(args: &Args, classifier: &Classifier, probabilities: &[Vec<f64>]) -> Value {
    let kinds = classifier.kinds();
    let of_kind = |(kind, values): (&(&'static str, usize), &Vec<f64>)| {
        let entry = |(class, probability)| json!({ "class": class, "label": label(classifier, class), "probability": probability });
        let list: Vec<Value> = top(values, args.top as usize).into_iter().map(entry).collect();
        (kind.0.to_owned(), Value::from(list))
    };
    Value::Object(kinds.iter().zip(probabilities).map(of_kind).collect::<Map<_, _>>())
}

/// A line for each of the most probable classes.
fn write_table(
    args: &Args,
    classifier: &Classifier,
    probabilities: &[Vec<f64>],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for ((kind, _), values) in classifier.kinds().iter().zip(probabilities) {
        for (class, probability) in top(values, args.top as usize) {
            let name = label(classifier, class).unwrap_or_default();
            writeln!(out, "{:6.2} %  {kind} {class:<5} {}", 100.0 * probability, steropes_nn::OneLine(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first_and_means_are_over_all() {
        assert_eq!(top(&[0.1, 0.4, 0.1, 0.4], 3), [(1, 0.4), (3, 0.4), (0, 0.1)]);
        let verdict = |p: [f64; 2]| Verdict { span: [0.0; 2], probabilities: vec![p.to_vec(), vec![1.0]] };
        assert_eq!(mean(&[verdict([0.0, 1.0]), verdict([1.0, 0.0])]), [vec![0.5, 0.5], vec![1.0]]);
    }
}
