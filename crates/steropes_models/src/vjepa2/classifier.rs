//! Classifiers on features: a pooler, and a linear layer for each kind of class.

use super::pooler::{AttentivePooler, PoolerConfig};
use super::{Layout, Observer, Source, Tokens, WhichEncoder};
use crate::{ModelError, Precision};
use serde_json::{Map, Value};
use std::path::Path;
use steropes_nn::{Checkpoint, Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::indexing::index_select::index_select;
use steropes_tensor::{Device, Tensor};

/// Heads of the official poolers, whatever the encoder.
const OFFICIAL_HEADS: usize = 16;
/// What official poolers add to the variance in their normalisations.
const OFFICIAL_EPS: f32 = 1e-5;
/// The same in Hugging Face's library, if its `config.json` does not say it.
const HUGGING_FACE_EPS: f32 = 1e-6;
/// The linear layers of official files and what they tell apart, in the order of the learned tokens.
const KINDS: [(&str, &str); 4] = [
    ("linear", "class"),
    ("verb_classifier", "verb"),
    ("noun_classifier", "noun"),
    ("action_classifier", "action"),
];
/// Where the tensors of a file in Hugging Face's names are found in the official ones.
const ROOT: &str = "official probe";

/// How a classifier is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Which of the classifiers that an official file lists; they were trained side by side, and published programs use the first.
    pub index: usize,
    /// Heads of the pooler, if not those of the published programs: 16 in official files, as many as the encoder has in folders of
    /// Hugging Face's library. The number shows in no shape.
    pub heads: Option<usize>,
}

/// A linear layer for one kind of class.
#[derive(Debug)]
struct Head {
    kind: &'static str,
    linear: Linear,
    classes: usize,
}

/// Scores of one kind of class.
#[derive(Clone, Debug)]
pub struct Logits {
    /// `class`; or `verb`, `noun` and `action` of classifiers that tell all three.
    pub kind: &'static str,
    /// `[batch, classes]`.
    pub values: Tensor,
}

/// A classifier on features of clips.
#[derive(Debug)]
pub struct Classifier {
    layout: Layout,
    pooler: AttentivePooler,
    heads: Vec<Head>,
    labels: Option<Vec<String>>,
}

impl Classifier {
    /// The classifier in an official `.pt` file of probes (a list `classifiers`), or in a folder or `.safetensors` file of Hugging Face's
    /// library, which holds the encoder too. Nothing in a file is run, and every tensor of the classifier must fit.
    ///
    /// # Errors
    /// [`ModelError::Load`], [`ModelError::Config`], [`ModelError::Precision`] or [`ModelError::OnlyCpu`], each one line that names the
    /// file and says what to do.
    pub fn open(
        path: &Path,
        device: &Device,
        precision: Precision,
        options: &ProbeOptions,
    ) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        if !is_hugging_face(&checkpoint) {
            return Self::official(checkpoint, device, precision, options);
        }
        let source = Source::open(path, WhichEncoder::Auto)?;
        let Some(config) = source.config() else {
            let problem = "needs the config.json that belongs to it, beside it".to_owned();
            return Err(ModelError::Config { file: source.file(), problem });
        };
        Self::hugging_face(checkpoint, config, device, precision, options)
    }

    /// The classifier in an opened file with official names.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn official(
        checkpoint: Checkpoint,
        device: &Device,
        precision: Precision,
        options: &ProbeOptions,
    ) -> Result<Self, ModelError> {
        let wrong = |problem| ModelError::Config { file: checkpoint.file().to_owned(), problem };
        let listed = format!("classifiers.{}", options.index);
        let has = |root: &str| checkpoint.names().any(|name| name == below(root, "pooler.query_tokens"));
        let root = if has(&listed) {
            listed
        } else if options.index == 0 && has("") {
            String::new()
        } else if has("classifiers.0") {
            let count = (0..).take_while(|i| has(&format!("classifiers.{i}"))).count();
            return Err(wrong(format!("lists {count} classifiers; give a number below that, from 0")));
        } else {
            return Err(wrong(
                "holds no classifier (`pooler.query_tokens`); give a file of probes, or a folder with a classification model"
                    .to_owned(),
            ));
        };
        let heads = options.heads.unwrap_or(OFFICIAL_HEADS);
        let found = Self::load(&checkpoint, &root, device, precision, [heads as f64, OFFICIAL_EPS.into()])?;
        checkpoint.check_leftovers(|name| !root.is_empty() && !name.starts_with(&format!("{root}.")))?;
        Ok(Self { layout: Layout::Official, labels: None, ..found })
    }

    /// The classifier in an opened file with the names of Hugging Face's library and the `config.json` that belongs to it.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn hugging_face(
        checkpoint: Checkpoint,
        config: &Map<String, Value>,
        device: &Device,
        precision: Precision,
        options: &ProbeOptions,
    ) -> Result<Self, ModelError> {
        let depth = (0..)
            .take_while(|i| {
                let first = format!("pooler.self_attention_layers.{i}.layer_norm1.weight");
                checkpoint.names().any(|name| name == first)
            })
            .count();
        let checkpoint = checkpoint.with_ties(&hugging_face_ties(depth));
        let stated = |name: &str| config.get(name).and_then(Value::as_f64);
        let heads = options.heads.map(|heads| heads as f64).or(stated("num_attention_heads"));
        let heads = heads.unwrap_or(OFFICIAL_HEADS as f64);
        let eps = stated("layer_norm_eps").unwrap_or(HUGGING_FACE_EPS.into());
        let found = Self::load(&checkpoint, ROOT, device, precision, [heads, eps])?;
        checkpoint
            .check_leftovers(|name| !["pooler.", "classifier."].iter().any(|own| name.starts_with(own)))?;
        let labels = labels(config, found.heads[0].classes);
        Ok(Self { layout: Layout::HuggingFace, labels, ..found })
    }

    fn load(
        checkpoint: &Checkpoint,
        root: &str,
        device: &Device,
        precision: Precision,
        [heads, norm_eps]: [f64; 2],
    ) -> Result<Self, ModelError> {
        let wrong = |problem| ModelError::Config { file: checkpoint.file().to_owned(), problem };
        let precision = precision.of_stored(device, checkpoint.block_format());
        let precision = precision.on(device, checkpoint.summary().bytes)?;
        let weights = Weights::new(checkpoint, device).in_precision(precision);
        let weights = if root.is_empty() { weights } else { weights.at(root) };
        let pooler = weights.at("pooler");
        let [_, queries, width] = pooler.shape("query_tokens")?;
        let blocks = pooler.at("blocks");
        let depth = (0..).take_while(|&i| blocks.at(i).has("norm1.weight")).count();
        let [hidden, _] = pooler.at("cross_attention_block").shape("mlp.fc1.weight")?;
        let heads = whole(heads).filter(|heads| width.is_multiple_of(*heads)).ok_or_else(|| {
            wrong(format!("its pooler of width {width} cannot have {heads} heads; say how many it has"))
        })?;
        let norm_eps = norm_eps as f32;
        let config = PoolerConfig { width, heads, depth, hidden, queries, norm_eps };
        let heads = heads_of(&weights, width)?;
        if heads.is_empty() {
            let names = KINDS.map(|(name, _)| name).join(", ");
            return Err(wrong(format!(
                "its classifier has no linear layer (one of {names}); get the file again"
            )));
        }
        if queries != 1 && queries != heads.len() {
            return Err(wrong(format!(
                "its classifier has {queries} learned tokens and {} linear layers; get the file again",
                heads.len()
            )));
        }
        let pooler = AttentivePooler::load(&pooler, &config)?;
        Ok(Self { layout: Layout::Official, pooler, heads, labels: None })
    }

    /// Who named the tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The pooler.
    pub fn pooler(&self) -> &AttentivePooler {
        &self.pooler
    }

    /// The kinds of classes, and how many there are of each, in the order of [`Classifier::logits`].
    pub fn kinds(&self) -> Vec<(&'static str, usize)> {
        self.heads.iter().map(|head| (head.kind, head.classes)).collect()
    }

    /// What the classes are called, if the file says it.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// Scores of all classes for tokens of clips, in any order: those of several clips or layers may be [joined](join_tokens).
    ///
    /// # Shapes
    /// - `tokens`: `[batch, count, width]`, features of the encoder that the classifier was trained on
    /// - returns: scores for each kind, `[batch, classes]`
    ///
    /// # Errors
    /// [`ModelError::Input`] if the tokens have another width, [`ModelError::Device`] if the device has no memory for them.
    pub fn logits(&self, tokens: &Tensor) -> Result<Vec<Logits>, ModelError> {
        self.logits_observed(tokens, &mut |_, _| {})
    }

    /// [`Classifier::logits`] that shows the intermediate results of [`AttentivePooler::forward_observed`] to `observe`.
    ///
    /// # Errors
    /// As [`Classifier::logits`].
    pub fn logits_observed(
        &self,
        tokens: &Tensor,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Logits>, ModelError> {
        let pooled = self.pooler.forward_observed(tokens, observe)?;
        let PoolerConfig { queries, width, .. } = *self.pooler.config();
        let batch = pooled.shape()[0];
        let found = self.heads.iter().enumerate().map(|(i, head)| {
            let own = match queries {
                1 => pooled.clone(),
                _ => index_select(&pooled, 1, &super::pooler::numbers(&pooled.device(), vec![i as u32])?)?,
            };
            let own = own.reshape(&[batch, width]).expect("one token of each clip");
            Ok(Logits { kind: head.kind, values: head.linear.forward(&own)? })
        });
        found.collect()
    }
}

/// Tokens of several clips or layers as those of one clip, for a classifier: `[batch, counts together, width]`.
///
/// # Errors
/// [`ModelError::Input`] if there are none or they differ in batch or width, [`ModelError::Device`] if the device has no memory for them.
pub fn join_tokens(parts: &[&Tokens]) -> Result<Tensor, ModelError> {
    let Some((first, rest)) = parts.split_first() else {
        return Err(OpError::value("join_tokens", "parts", "at least one", "none").into());
    };
    let (batch, width) = (first.batch(), first.width());
    let mut joined =
        first.values().clone().reshape(&[batch, first.count() * width]).expect("tokens side by side");
    for part in rest {
        if (part.batch(), part.width()) != (batch, width) {
            let expected = format!("[{batch}, count, {width}]");
            return Err(OpError::shape("join_tokens", "parts", expected, part.values().shape()).into());
        }
        let part =
            part.values().clone().reshape(&[batch, part.count() * width]).expect("tokens side by side");
        joined = concat(&joined, &part)?;
    }
    let count = joined.shape()[1] / width;
    Ok(joined.reshape(&[batch, count, width]).expect("a row per token"))
}

/// The score of each class over several views of a clip: the mean of their softmax, from the logits of each view.
///
/// # Numerics
/// f64. No views give no classes.
///
/// # Panics
/// If views have different numbers of classes.
pub fn mean_probabilities(views: &[Vec<f32>]) -> Vec<f64> {
    let mut mean = vec![0.0; views.first().map_or(0, Vec::len)];
    for view in views {
        assert_eq!(view.len(), mean.len(), "views have the same classes");
        let largest = view.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = view.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        mean.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += weight / sum / views.len() as f64);
    }
    mean
}

/// The linear layers that there are.
fn heads_of(weights: &Weights<'_>, width: usize) -> Result<Vec<Head>, LoadError> {
    let there = KINDS.into_iter().filter(|(name, _)| weights.at(name).has("weight"));
    there
        .map(|(name, kind)| {
            let layer = weights.at(name);
            let [classes, _] = layer.shape("weight")?;
            // The last layer is small, and its rounding would be that of the scores.
            Ok(Head { kind, linear: Linear::load(&layer.in_value_type(), width, classes)?, classes })
        })
        .collect()
}

/// A number of heads.
fn whole(number: f64) -> Option<usize> {
    (number >= 1.0 && number.fract() == 0.0 && number <= 4096.0).then_some(number as usize)
}

/// `root.name`, or `name` at the top.
fn below(root: &str, name: &str) -> String {
    if root.is_empty() { name.to_owned() } else { format!("{root}.{name}") }
}

fn is_hugging_face(checkpoint: &Checkpoint) -> bool {
    checkpoint.names().any(|name| name.starts_with("pooler.cross_attention_layer."))
}

/// What the classes are called, if `id2label` says it of each.
fn labels(config: &Map<String, Value>, classes: usize) -> Option<Vec<String>> {
    let names = config.get("id2label")?.as_object()?;
    (0..classes).map(|class| Some(names.get(&class.to_string())?.as_str()?.to_owned())).collect()
}

/// Official paths below [`ROOT`], and those of Hugging Face's library in their place.
fn hugging_face_ties(depth: usize) -> Vec<(String, String)> {
    let (pooler, cross) = (format!("{ROOT}.pooler"), "pooler.cross_attention_layer");
    let mut ties = Vec::new();
    for i in 0..depth {
        let (from, to) = (format!("{pooler}.blocks.{i}"), format!("pooler.self_attention_layers.{i}"));
        let parts = [
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("attn.query", "self_attn.q_proj"),
            ("attn.key", "self_attn.k_proj"),
            ("attn.value", "self_attn.v_proj"),
            ("attn.proj", "self_attn.out_proj"),
            ("mlp", "mlp"),
        ];
        ties.extend(parts.map(|(ours, theirs)| (format!("{from}.{ours}"), format!("{to}.{theirs}"))));
    }
    let parts = [
        ("norm1", "layer_norm1"),
        ("norm2", "layer_norm2"),
        ("xattn.q", "cross_attn.q_proj"),
        ("xattn.k", "cross_attn.k_proj"),
        ("xattn.v", "cross_attn.v_proj"),
        ("mlp", "mlp"),
    ];
    ties.extend(parts.map(|(ours, theirs)| {
        (format!("{pooler}.cross_attention_block.{ours}"), format!("{cross}.{theirs}"))
    }));
    ties.push((format!("{pooler}.query_tokens"), "pooler.query_tokens".to_owned()));
    ties.push((format!("{ROOT}.linear"), "classifier".to_owned()));
    ties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mast3r::synthetic::{little_endian, weight};
    use crate::vjepa2::Grid;
    use crate::vjepa2::synthetic::probe;
    use safetensors::{Dtype, tensor::TensorView};
    use steropes_testkit::inputs::uniform;
    use steropes_testkit::{Tolerance, check_close};

    const WIDTH: usize = 32;
    type Stored = Vec<(String, Vec<usize>, Vec<f32>)>;

    /// A generated classifier under its official names.
    fn stored(layers: &[(&str, usize)]) -> Stored {
        let parameters = probe(WIDTH, 2, layers);
        let value = |(name, shape): (String, Vec<usize>)| {
            let values = weight("", &name, &shape);
            (name, shape, values)
        };
        parameters.into_iter().map(value).collect()
    }

    fn file(tensors: &Stored) -> Checkpoint {
        let bytes: Vec<_> = tensors.iter().map(|(_, _, values)| little_endian(values)).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        Checkpoint::from_bytes("probe", safetensors::serialize(views, None).unwrap()).unwrap()
    }

    fn with(tensors: &Stored, heads: Option<usize>, index: usize) -> Result<Classifier, ModelError> {
        let options = ProbeOptions { heads, index };
        Classifier::official(file(tensors), &Device::cpu(), Precision::F32, &options)
    }

    fn tokens(name: &str, batch: usize, count: usize) -> Tensor {
        let values = uniform(name, batch * count * WIDTH);
        Tensor::new(&Device::cpu(), &[batch, count, WIDTH], values).unwrap()
    }

    fn scores(classifier: &Classifier, tokens: &Tensor) -> Vec<Vec<f32>> {
        classifier.logits(tokens).unwrap().iter().map(|logits| logits.values.read().unwrap()).collect()
    }

    fn below_list(place: usize, tensors: Stored) -> Stored {
        let named = |(name, shape, values)| (format!("classifiers.{place}.{name}"), shape, values);
        tensors.into_iter().map(named).collect()
    }

    /// The tensors under the names of the other library, where queries, keys and values are layers of their own.
    fn renamed(tensors: Stored) -> Stored {
        let mut out = Vec::new();
        for (name, shape, values) in tensors {
            let name = name
                .replace("pooler.blocks.", "pooler.self_attention_layers.")
                .replace("cross_attention_block", "cross_attention_layer")
                .replace("norm", "layer_norm")
                .replace("xattn.q.", "cross_attn.q_proj.")
                .replace("attn.proj", "self_attn.out_proj")
                .replace("linear.", "classifier.");
            let parts: Vec<String> = if name.contains("xattn.kv") {
                ["k", "v"].map(|part| name.replace("xattn.kv", &format!("cross_attn.{part}_proj"))).into()
            } else if name.contains("attn.qkv") {
                ["q", "k", "v"].map(|part| name.replace("attn.qkv", &format!("self_attn.{part}_proj"))).into()
            } else {
                vec![name]
            };
            let each = [&[shape[0] / parts.len()], &shape[1..]].concat();
            let len = values.len() / parts.len();
            out.extend(
                parts.into_iter().zip(values.chunks(len)).map(|(name, v)| (name, each.clone(), v.to_vec())),
            );
        }
        out
    }

    #[test]
    fn the_order_of_tokens_has_no_effect_and_the_tokens_have() {
        let classifier = with(&stored(&[("linear", 5)]), Some(4), 0).unwrap();
        let tokens = tokens("t", 1, 21);
        let values: Vec<f32> = tokens.read().unwrap();
        let reversed: Vec<f32> = values.chunks_exact(WIDTH).rev().flatten().copied().collect();
        let reversed = Tensor::new(&Device::cpu(), &[1, 21, WIDTH], reversed).unwrap();
        let want = scores(&classifier, &tokens).remove(0);
        let exact: Vec<f64> = want.iter().map(|&v| v.into()).collect();
        check_close(&scores(&classifier, &reversed)[0], &exact, Tolerance::OfLargest(2e-6)).unwrap();
        let other = Tensor::new(&Device::cpu(), &[1, 20, WIDTH], values[WIDTH..].to_vec()).unwrap();
        assert!(check_close(&scores(&classifier, &other)[0], &exact, Tolerance::OfLargest(1e-4)).is_err());
    }

    #[test]
    fn clips_of_a_batch_do_not_see_each_other() {
        let layers = [("verb_classifier", 3), ("noun_classifier", 4), ("action_classifier", 5)];
        let classifier = with(&stored(&layers), Some(2), 0).unwrap();
        assert_eq!(classifier.kinds(), [("verb", 3), ("noun", 4), ("action", 5)]);
        let both = tokens("t", 2, 9);
        let values: Vec<f32> = both.read().unwrap();
        let all = scores(&classifier, &both);
        for (clip, values) in values.chunks_exact(9 * WIDTH).enumerate() {
            let one = Tensor::new(&Device::cpu(), &[1, 9, WIDTH], values.to_vec()).unwrap();
            for (kind, (one, all)) in scores(&classifier, &one).iter().zip(&all).enumerate() {
                let classes = one.len();
                assert_eq!(one[..], all[clip * classes..][..classes], "clip {clip}, kind {kind}");
            }
        }
    }

    #[test]
    fn each_kind_of_class_has_a_learned_token_of_its_own() {
        let layers = [("verb_classifier", 3), ("noun_classifier", 4), ("action_classifier", 5)];
        let three = stored(&layers);
        let tokens = tokens("t", 1, 9);
        let all = scores(&with(&three, Some(2), 0).unwrap(), &tokens);
        for (i, (name, _)) in layers.iter().enumerate() {
            // A classifier with that learned token and that layer only.
            let kept =
                three.iter().filter(|(other, ..)| other.starts_with("pooler") || other.starts_with(name));
            let one: Stored = kept
                .cloned()
                .map(|(name, shape, values)| match name.as_str() {
                    "pooler.query_tokens" => {
                        (name, vec![1, 1, WIDTH], values[i * WIDTH..(i + 1) * WIDTH].to_vec())
                    }
                    _ => (name, shape, values),
                })
                .collect();
            assert_eq!(scores(&with(&one, Some(2), 0).unwrap(), &tokens), [all[i].clone()], "{name}");
        }
        // One learned token may serve all.
        let mut shared = three;
        shared[0].1 = vec![1, 1, WIDTH];
        shared[0].2.truncate(WIDTH);
        let shared = scores(&with(&shared, Some(2), 0).unwrap(), &tokens);
        assert_eq!(shared[0], all[0]);
        assert_ne!(shared[1], all[1]);
    }

    #[test]
    fn official_poolers_have_sixteen_heads_and_others_those_of_the_encoder() {
        let official = stored(&[("linear", 5)]);
        let tokens = tokens("t", 1, 9);
        let [usual, sixteen, four] = [None, Some(16), Some(4)].map(|heads| {
            let classifier = with(&official, heads, 0).unwrap();
            assert_eq!(classifier.pooler().config().norm_eps, 1e-5);
            scores(&classifier, &tokens)
        });
        assert_eq!(usual, sixteen);
        assert_ne!(usual, four);
        let theirs = |config: serde_json::Value| {
            let (config, cpu) = (config.as_object().unwrap().clone(), Device::cpu());
            let file = file(&renamed(official.clone()));
            Classifier::hugging_face(file, &config, &cpu, Precision::F32, &ProbeOptions::default()).unwrap()
        };
        let alike = theirs(serde_json::json!({ "num_attention_heads": 4, "layer_norm_eps": 1e-5 }));
        assert_eq!(scores(&alike, &tokens), four);
        assert_eq!(alike.layout(), Layout::HuggingFace);
        let finer = theirs(serde_json::json!({ "num_attention_heads": 4 }));
        assert_eq!(finer.pooler().config().norm_eps, 1e-6);
        assert_ne!(scores(&finer, &tokens), four);
        let names = serde_json::json!({ "0": "a", "1": "b", "2": "c", "3": "d", "4": "e" });
        let named = theirs(serde_json::json!({ "num_attention_heads": 4, "id2label": names }));
        assert_eq!(named.labels().unwrap(), ["a", "b", "c", "d", "e"]);
        let few = theirs(serde_json::json!({ "num_attention_heads": 4, "id2label": { "0": "a" } }));
        assert_eq!(few.labels(), None);
    }

    #[test]
    fn one_of_a_list_is_taken() {
        let mut second = stored(&[("linear", 5)]);
        second.iter_mut().for_each(|(_, _, values)| values.iter_mut().for_each(|v| *v *= 1.1));
        let first = stored(&[("linear", 5)]);
        let tokens = tokens("t", 1, 9);
        let all = [below_list(0, first.clone()), below_list(1, second.clone())].concat();
        for (index, alone) in [first, second].iter().enumerate() {
            let listed = scores(&with(&all, Some(2), index).unwrap(), &tokens);
            assert_eq!(listed, scores(&with(alone, Some(2), 0).unwrap(), &tokens));
        }
        let error = with(&all, Some(2), 2).unwrap_err().to_string();
        assert!(error.contains("lists 2 classifiers; give a number below that"), "{error}");
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let sound = stored(&[("linear", 5)]);
        let refused = |tensors: &Stored, heads: Option<usize>, part: &str| {
            let error = with(tensors, heads, 0).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "`{error}` does not say `{part}`");
        };
        let without = |part: &str| -> Stored {
            sound.iter().filter(|(name, ..)| !name.contains(part)).cloned().collect()
        };
        refused(&without("query_tokens"), None, "holds no classifier");
        refused(&without("linear"), None, "no linear layer");
        refused(&without("xattn.kv.bias"), None, "missing");
        refused(&without("blocks.0"), None, "holds 24 tensors"); // the second has no place without the first
        refused(&sound, Some(5), "cannot have 5 heads");
        refused(&sound, Some(0), "cannot have 0 heads");
        let mut more = sound.clone();
        more.push(("pooler.more".to_owned(), vec![2], vec![0.0; 2]));
        refused(&more, None, "`pooler.more`");
        let mut two = sound.clone();
        two[0].1 = vec![1, 2, WIDTH];
        two[0].2 = vec![0.1; 2 * WIDTH];
        refused(&two, None, "2 learned tokens and 1 linear layers");
    }

    #[test]
    fn tokens_of_clips_and_layers_lie_one_after_the_other() {
        let grid = |tubelets| Grid { tubelets, rows: 1, columns: 3 };
        let part = |name: &str, batch, tubelets| {
            Tokens::new(tokens(name, batch, 3 * tubelets), grid(tubelets), None).unwrap()
        };
        let (one, two) = (part("one", 2, 1), part("two", 2, 2));
        let joined = join_tokens(&[&one, &two]).unwrap();
        assert_eq!(joined.shape(), [2, 9, WIDTH]);
        let [joined, one, two] = [&joined, one.values(), two.values()].map(|x| x.read::<f32>().unwrap());
        let each = 3 * WIDTH;
        let want = [&one[..each], &two[..2 * each], &one[each..], &two[2 * each..]].concat();
        assert_eq!(joined, want);
        assert!(join_tokens(&[]).is_err());
        assert!(join_tokens(&[&part("one", 2, 1), &part("two", 1, 1)]).is_err());
    }

    #[test]
    fn views_have_the_mean_of_their_probabilities() {
        // Odds of 1 : 3 and 1 : 1.
        let mean = mean_probabilities(&[vec![1000.0, 1000.0 + 3f32.ln()], vec![-5.0, -5.0]]);
        assert!((mean[0] - 0.375).abs() < 1e-4 && (mean[1] - 0.625).abs() < 1e-4, "{mean:?}");
        let one = mean_probabilities(&[vec![0.0, 2f32.ln(), -200.0]]);
        assert!((one[0] - 1.0 / 3.0).abs() < 1e-7 && (one.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert!(mean_probabilities(&[]).is_empty());
    }
}
