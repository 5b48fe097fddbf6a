//! Tests of whole networks with generated weights.

use super::synthetic::{Extents, Version, checkpoint, encoder, predictor};
use super::{Config, Grid, Layout, Model, OpenOptions, Positions, Predictor, Source, Tokens, WhichEncoder};
use crate::mast3r::Trunk;
use crate::mast3r::synthetic::{Parameter, little_endian, weight, weight_file};
use crate::{ModelError, Precision};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::path::Path;
use steropes_ops::position::rope3d::{Rope3dAngles, Rope3dRounding};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::floats;
use steropes_testkit::inputs::uniform;
use steropes_testkit::torch_file::{Pickle, archive};

const TINY: Extents = Extents::TINY;

/// The options that a file of the tiny network needs, which is not published.
fn tiny_options() -> OpenOptions {
    OpenOptions {
        heads: Some(TINY.encoder.heads),
        predictor_heads: Some(TINY.predictor.heads),
        crop_size: Some(64),
        ..OpenOptions::default()
    }
}

fn tiny_with(options: &OpenOptions) -> Result<Model, ModelError> {
    of_bytes(weight_file("v", &checkpoint(&TINY, Version::V2_0), DType::F32), None, options)
}

fn of_bytes(bytes: Vec<u8>, config: Option<&str>, options: &OpenOptions) -> Result<Model, ModelError> {
    let source = Source::from_bytes("tiny", config, bytes, options.encoder)?;
    Model::load("tiny".to_owned(), source, &Device::cpu(), Precision::F32, options)
}

fn tiny() -> Model {
    tiny_with(&tiny_options()).unwrap()
}

/// Name, extents and values of a tensor.
type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// A file with these tensors.
fn file(tensors: &[NamedTensor]) -> Vec<u8> {
    let bytes: Vec<_> =
        tensors.iter().map(|(name, shape, values)| (name, shape, little_endian(values))).collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

fn generated(salt: &str, parameters: &[Parameter]) -> Vec<NamedTensor> {
    parameters.iter().map(|(name, shape)| (name.clone(), shape.clone(), weight(salt, name, shape))).collect()
}

fn frames(count: usize, height: usize, width: usize) -> Vec<f32> {
    uniform("vjepa2/frames", count * height * width * 3)
}

fn values(tokens: &Tokens) -> Vec<f32> {
    floats(tokens.values()).unwrap()
}

/// The largest difference relative to the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn features(model: &Model, shape: [usize; 4]) -> Tokens {
    let [batch, count, height, width] = shape;
    model.features(&model.clip(shape, &frames(batch * count, height, width)).unwrap()).unwrap()
}

#[test]
fn tubelets_embedded_one_by_one_are_the_clip() {
    let model = tiny();
    let values_of = frames(8, 48, 64);
    let whole = model.embed(&model.clip([1, 8, 48, 64], &values_of).unwrap()).unwrap();
    let pixels = 2 * 48 * 64 * 3;
    let pair = |i: usize| model.clip([1, 2, 48, 64], &values_of[i * pixels..][..pixels]).unwrap();
    let parts: Vec<Tokens> = (0..4).map(|i| model.embed(&pair(i)).unwrap()).collect();
    let joined = Tokens::join_in_time(&parts.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((joined.grid(), values(&joined)), (whole.grid(), values(&whole)));
    assert_eq!(values(&model.encode(joined).unwrap()), values(&model.encode(whole).unwrap()));
    // Clips of a batch are joined each by itself.
    let two = frames(8, 32, 32);
    let first = |frames: &[f32], from: usize, to: usize| {
        let frame = 32 * 32 * 3;
        frames
            .chunks_exact(4 * frame)
            .flat_map(|clip| clip[from * frame..to * frame].to_vec())
            .collect::<Vec<f32>>()
    };
    let embed = |shape: [usize; 4], values: &[f32]| model.embed(&model.clip(shape, values).unwrap()).unwrap();
    let parts = [embed([2, 2, 32, 32], &first(&two, 0, 2)), embed([2, 2, 32, 32], &first(&two, 2, 4))];
    let joined = Tokens::join_in_time(&[&parts[0], &parts[1]]).unwrap();
    assert_eq!(values(&joined), values(&embed([2, 4, 32, 32], &two)));
}

#[test]
fn all_tokens_as_a_subset_are_the_clip_and_their_order_is_free() {
    let model = tiny();
    let embedded = model.embed(&model.clip([1, 4, 48, 64], &frames(4, 48, 64)).unwrap()).unwrap();
    let count = embedded.count() as u32;
    let whole = values(&model.encode(embedded.clone()).unwrap());
    let all = embedded.subset(&[(0..count).collect()]).unwrap();
    assert_eq!(values(&model.encode(all).unwrap()), whole);
    let order: Vec<u32> = (0..count).map(|i| (i * 7 + 3) % count).collect();
    let shuffled = model.encode(embedded.subset(std::slice::from_ref(&order)).unwrap()).unwrap();
    assert_eq!(shuffled.ids().unwrap(), std::slice::from_ref(&order));
    let width = shuffled.width();
    let moved: Vec<f32> = order.iter().flat_map(|&i| whole[i as usize * width..][..width].to_vec()).collect();
    let error = distance(&moved, &values(&shuffled));
    assert!(error < 1e-5, "{error:e}");
    // Numbers stay with their tokens where a subset is taken of a subset.
    let some = embedded.subset(&[vec![5, 9, 2]]).unwrap().subset(&[vec![2, 0]]).unwrap();
    assert_eq!(some.ids().unwrap(), [[2, 5]]);
    // And a subset is not the features of the whole at its places: attention saw less.
    let some = values(&model.encode(some).unwrap());
    assert!(distance(&some[..width], &whole[2 * width..][..width]) > 1e-3);
}

#[test]
fn each_clip_of_a_batch_is_its_own_and_may_have_its_own_subset() {
    let model = tiny();
    let both = frames(4, 32, 48);
    let alone = |i: usize| {
        let clip = model.clip([1, 2, 32, 48], &both[i * 2 * 32 * 48 * 3..][..2 * 32 * 48 * 3]).unwrap();
        model.embed(&clip).unwrap()
    };
    let together = model.embed(&model.clip([2, 2, 32, 48], &both).unwrap()).unwrap();
    let lists = [vec![0, 3, 5], vec![4, 1, 2]];
    let some = model.encode(together.subset(&lists).unwrap()).unwrap();
    let each: Vec<f32> = (0..2)
        .flat_map(|i| values(&model.encode(alone(i).subset(&[lists[i].clone()]).unwrap()).unwrap()))
        .collect();
    assert!(distance(&each, &values(&some)) < 1e-6);
    let whole = values(&model.encode(together).unwrap());
    let each: Vec<f32> = (0..2).flat_map(|i| values(&model.encode(alone(i)).unwrap())).collect();
    assert!(distance(&each, &whole) < 1e-6);
}

#[test]
fn odd_frames_and_ragged_sides_are_left_out() {
    let model = tiny();
    let shape = [5usize, 50, 70];
    let ragged = frames(5, 50, 70);
    let mut cut = Vec::new();
    for t in 0..4 {
        for row in 0..48 {
            cut.extend_from_slice(&ragged[((t * shape[1] + row) * shape[2]) * 3..][..64 * 3]);
        }
    }
    let want = model.features(&model.clip([1, 4, 48, 64], &cut).unwrap()).unwrap();
    let got = model.features(&model.clip([1, 5, 50, 70], &ragged).unwrap()).unwrap();
    assert_eq!(got.grid(), Grid { tubelets: 2, rows: 3, columns: 4 });
    assert_eq!((values(&got), got.grid()), (values(&want), want.grid()));
    // A single frame is shown twice.
    let one = frames(1, 32, 32);
    let twice = [one.clone(), one.clone()].concat();
    let got = model.features(&model.clip([1, 1, 32, 32], &one).unwrap()).unwrap();
    assert_eq!(values(&got), values(&model.features(&model.clip([1, 2, 32, 32], &twice).unwrap()).unwrap()));
}

#[test]
fn positions_of_the_crop_are_those_of_the_clip_at_its_size_alone() {
    let official = tiny();
    let theirs = tiny_with(&OpenOptions { positions: Positions::CropSize, ..tiny_options() }).unwrap();
    let compare = |shape| distance(&values(&features(&official, shape)), &values(&features(&theirs, shape)));
    assert_eq!(compare([1, 4, 64, 64]), 0.0);
    assert_eq!(compare([1, 5, 70, 79]), 0.0);
    for shape in [[1, 4, 32, 32], [1, 2, 64, 96], [1, 4, 96, 64]] {
        assert!(compare(shape) > 1e-3, "{shape:?}");
    }
}

#[test]
fn rounded_tables_change_features_a_little() {
    let exact = values(&features(&tiny(), [1, 4, 64, 64]));
    let rounded = |rope_rounding| {
        let model = tiny_with(&OpenOptions { rope_rounding, ..tiny_options() }).unwrap();
        distance(&exact, &values(&features(&model, [1, 4, 64, 64])))
    };
    let (bf16, f16) = (rounded(Rope3dRounding::Bf16), rounded(Rope3dRounding::F16));
    assert!(bf16 > f16 && f16 > 1e-6 && bf16 < 5e-2, "{bf16} {f16}");
}

/// Moving a whole clip in time changes nothing but in 2.0, whose turns are no rotations.
#[test]
fn only_2_1_does_not_see_when_a_clip_began() {
    let change = |model: &Model| {
        let embedded = model.embed(&model.clip([1, 4, 48, 48], &frames(4, 48, 48)).unwrap()).unwrap();
        let (grid, count) = (embedded.grid(), embedded.count() as u32);
        let later = Grid { tubelets: 6, ..grid };
        let moved = (0..count).map(|id| id + 4 * grid.tokens_each() as u32).collect();
        let moved = Tokens::new(embedded.values().clone(), later, Some(vec![moved])).unwrap();
        distance(&values(&model.encode(embedded).unwrap()), &values(&model.encode(moved).unwrap()))
    };
    let (old, new) = (change(&tiny()), change(&tiny_2_1()));
    assert!(old > 1e-3 && new < 1e-5, "2.0: {old:e}, 2.1: {new:e}");
}

/// A network of 12 blocks in the form 2.1.
fn tiny_2_1() -> Model {
    let extents = Extents { encoder: Trunk { depth: 12, ..TINY.encoder }, ..TINY };
    let parameters = encoder(&extents, Version::V2_1);
    let named = parameters.into_iter().map(|(name, shape)| (format!("ema_encoder.backbone.{name}"), shape));
    let bytes = weight_file("v", &named.collect::<Vec<_>>(), DType::F32);
    of_bytes(bytes, None, &OpenOptions { heads: Some(2), ..OpenOptions::default() }).unwrap()
}

#[test]
fn the_form_2_1_is_known_by_its_tensors() {
    let model = tiny_2_1();
    let config = model.config();
    assert!(config.is_2_1() && config.has_image_embed && config.has_modality_embed);
    assert_eq!((config.rope_angles, config.rope_cells), (Rope3dAngles::Pairs, Some(16)));
    assert_eq!((config.levels.as_slice(), config.crop_size), (&[2, 5, 8, 11][..], 384));
    assert!(config.predictor.is_none());
    let error = model.predict(&features(&model, [1, 2, 32, 32]), &[vec![0]], 0).unwrap_err().to_string();
    assert_eq!(error, "`tiny` has no mask predictor (only V-JEPA 2.0 files that hold one have)");
    // Levels through their own normalisations, side by side; the last of them is the default.
    let embedded = model.embed(&model.clip([1, 2, 32, 48], &frames(2, 32, 48)).unwrap()).unwrap();
    let levels = model.encoder().encode_layers(embedded.clone(), &[2, 5, 8, 11]).unwrap();
    let joined = model.encoder().encode_levels(embedded.clone()).unwrap();
    let last = model.encode(embedded.clone()).unwrap();
    assert_eq!((joined.width(), values(&levels[3])), (4 * last.width(), values(&last)));
    for (token, joined) in values(&joined).chunks_exact(4 * last.width()).enumerate() {
        for (level, part) in joined.chunks_exact(last.width()).enumerate() {
            assert_eq!(part, &values(&levels[level])[token * last.width()..][..last.width()]);
        }
    }
    let error = model.encoder().encode_layers(embedded, &[3]).unwrap_err().to_string();
    assert!(error.contains("among the levels [2, 5, 8, 11], got 3"), "{error}");
}

/// The vector of clips is that of 2.1's videos, and single frames have an embedding and a vector of their own.
#[test]
fn modalities_have_their_vectors() {
    let model = tiny_2_1();
    let salt = |name: &str, shape: &[usize]| weight("v", &format!("ema_encoder.backbone.{name}"), shape);
    let (width, pixels) = (32, 16 * 16);
    let frame = frames(1, 16, 16);
    let by_hand = |weight: &str, bias: &str, vector: &str, depth: usize| -> Vec<f32> {
        let kernel = salt(weight, &[width, 3, depth, 16, 16]);
        let (bias, vector) = (salt(bias, &[width]), salt(vector, &[1, 1, width]));
        (0..width)
            .map(|d| {
                let mut sum = f64::from(bias[d]) + f64::from(vector[d]);
                for c in 0..3 {
                    for t in 0..depth {
                        for p in 0..pixels {
                            let weight = kernel[((d * 3 + c) * depth + t) * pixels + p];
                            sum += f64::from(weight) * f64::from(frame[p * 3 + c]);
                        }
                    }
                }
                sum as f32
            })
            .collect()
    };
    let image = model.embed(&model.clip([1, 1, 16, 16], &frame).unwrap()).unwrap();
    let want = by_hand("patch_embed_img.proj.weight", "patch_embed_img.proj.bias", "img_mod_embed", 1);
    assert!(distance(&want, &values(&image)) < 1e-5);
    let twice = [frame.clone(), frame.clone()].concat();
    let video = model.embed(&model.clip([1, 2, 16, 16], &twice).unwrap()).unwrap();
    let want = by_hand("patch_embed.proj.weight", "patch_embed.proj.bias", "video_mod_embed", 2);
    assert!(distance(&want, &values(&video)) < 1e-5);
}

#[test]
fn layers_are_those_on_the_way_through_the_last_normalisation() {
    let model = tiny();
    let embedded = model.embed(&model.clip([1, 2, 32, 32], &frames(2, 32, 32)).unwrap()).unwrap();
    let layers = model.encoder().encode_layers(embedded.clone(), &[0, 1]).unwrap();
    assert_eq!(values(&layers[1]), values(&model.encode(embedded.clone()).unwrap()));
    assert!(distance(&values(&layers[0]), &values(&layers[1])) > 1e-2);
    for layers in [&[][..], &[2], &[1, 0], &[1, 1]] {
        let error = model.encoder().encode_layers(embedded.clone(), layers).unwrap_err().to_string();
        assert!(error.contains("`layers` must be ascending numbers of blocks below 2"), "{error}");
    }
}

#[test]
fn predictions_follow_their_targets() {
    let model = tiny();
    let all = features(&model, [1, 4, 64, 64]);
    let context = all.subset(&[(0..16).collect()]).unwrap();
    let predict = |targets: &[u32]| {
        let out = model.predict(&context, &[targets.to_vec()], Predictor::MASK_INDEX).unwrap();
        assert_eq!(out.ids().unwrap(), [targets.to_vec()]);
        values(&out)
    };
    let width = context.width();
    let (there, back) = (predict(&[20, 17, 31]), predict(&[31, 20, 17]));
    let reordered = [&there[2 * width..], &there[..2 * width]].concat();
    assert!(distance(&reordered, &back) < 1e-5);
    assert!(distance(&there[..width], &there[width..2 * width]) > 1e-3);
    // Numbers may repeat, be among those of the context, and lie behind the clip.
    let odd = predict(&[20, 20, 3, 64]);
    assert!(distance(&odd[..width], &odd[width..2 * width]) < 1e-6);
    assert!(odd.iter().all(|v| v.is_finite()));
    // The order of the context is free where its numbers differ.
    let turned = all.subset(&[(0..16).rev().collect()]).unwrap();
    let again = values(&model.predict(&turned, &[vec![20, 17, 31]], Predictor::MASK_INDEX).unwrap());
    assert!(distance(&there, &again) < 1e-5);
}

#[test]
fn mask_tokens_are_counted_round_and_batches_are_of_single_clips() {
    let model = tiny();
    let both = features(&model, [2, 2, 64, 64]);
    let lists = [vec![1, 2, 7], vec![0, 9, 4]];
    let targets = [vec![3, 12], vec![15, 2]];
    let context = both.subset(&lists).unwrap();
    let predict = |index| values(&model.predict(&context, &targets, index).unwrap());
    assert_eq!(predict(1), predict(1 + TINY.mask_tokens));
    assert!(distance(&predict(0), &predict(1)) > 1e-4);
    let values_of = values(&context);
    let each: Vec<f32> = (0..2)
        .flat_map(|b| {
            let own = values_of[b * 3 * 32..][..3 * 32].to_vec();
            let own = Tensor::new(&Device::cpu(), &[1, 3, 32], own).unwrap();
            let own = Tokens::new(own, context.grid(), Some(vec![lists[b].clone()])).unwrap();
            values(&model.predict(&own, &[targets[b].clone()], 1).unwrap())
        })
        .collect();
    assert!(distance(&each, &predict(1)) < 1e-5);
}

/// Places, and not the order of tokens, decide: the same features at other places say other things.
#[test]
fn predictions_depend_on_places() {
    let model = tiny();
    let all = features(&model, [1, 4, 64, 64]);
    let context = all.subset(&[(0..8).collect()]).unwrap();
    let moved = Tokens::new(context.values().clone(), context.grid(), Some(vec![(8..16).collect()])).unwrap();
    let predict = |context: &Tokens| values(&model.predict(context, &[vec![20, 17]], 1).unwrap());
    assert!(distance(&predict(&context), &predict(&moved)) > 1e-3);
}

#[test]
fn targets_are_normalised_without_factors() {
    let tokens = features(&tiny(), [1, 2, 32, 32]).normalized().unwrap();
    for token in values(&tokens).chunks_exact(tokens.width()) {
        let mean = token.iter().sum::<f32>() / token.len() as f32;
        let variance = token.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / token.len() as f32;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
    }
}

#[test]
fn bad_arguments_are_refused() {
    let model = tiny();
    let refused = |result: Result<Tokens, ModelError>, part: &str| {
        let error = result.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "`{error}` says nothing about `{part}`");
    };
    for shape in [[1, 0, 32, 32], [0, 2, 32, 32], [1, 2, 15, 32], [1, 2, 32, 15]] {
        let error =
            model.clip(shape, &vec![0.0; shape.iter().product::<usize>() * 3]).unwrap_err().to_string();
        assert!(error.contains("with a frame of 16 x 16 pixels or more"), "{error}");
    }
    for shape in [[1, 2, 32, 32], [usize::MAX, 2, 32, 32]] {
        let error = model.clip(shape, &[0.0; 3]).unwrap_err().to_string();
        assert!(error.contains("`values` must be [batch, frames, height, width, 3] values"), "{error}");
    }
    let embedded = model.embed(&model.clip([1, 2, 32, 32], &frames(2, 32, 32)).unwrap()).unwrap();
    refused(embedded.subset(&[vec![0, 4]]), "`places` must be below 4, got 4");
    refused(embedded.subset(&[vec![]]), "lists of 1");
    refused(embedded.subset(&[]), "1 or 1 lists, got 0");
    refused(embedded.subset(&[vec![0], vec![1]]), "1 or 1 lists, got 2");
    refused(Tokens::join_in_time(&[]), "at least one");
    let some = embedded.subset(&[vec![0, 1]]).unwrap();
    refused(Tokens::join_in_time(&[&embedded, &some]), "whole clips of one batch");
    refused(
        Tokens::new(embedded.values().clone(), embedded.grid(), Some(vec![vec![0; 3]])),
        "lists of 4, got 3",
    );
    let narrow =
        Tokens::new(Tensor::zeros::<f32>(&Device::cpu(), &[1, 4, 8]), embedded.grid(), None).unwrap();
    refused(model.encode(narrow.clone()), "[batch, tokens, 32]");
    refused(model.predict(&narrow, &[vec![1]], 1), "`x` must be");
    refused(model.predict(&embedded, &[vec![]], 1), "lists of 1");
    let tubelet = embedded.tubelet(1).map(|_| ()).unwrap_err().to_string();
    assert!(tubelet.contains("`t` must be below 1"), "{tubelet}");
}

#[test]
fn a_tubelet_has_its_tokens() {
    let model = tiny();
    for batch in [1, 2] {
        let all = features(&model, [batch, 6, 32, 48]);
        let each = all.grid().tokens_each() * all.width();
        let want: Vec<f32> =
            values(&all).chunks_exact(3 * each).flat_map(|clip| clip[2 * each..].to_vec()).collect();
        assert_eq!(floats(&all.tubelet(2).unwrap()).unwrap(), want);
    }
}

/// The names of the published conversions, from those of the authors, and all values.
fn hugging_face(prefix: &str, official: &[NamedTensor]) -> Vec<NamedTensor> {
    let mut out: Vec<NamedTensor> = Vec::new();
    let mut masks: Vec<f32> = Vec::new();
    for (name, shape, values) in official {
        if name.starts_with("mask_tokens.") {
            masks.extend(values);
            continue;
        }
        let part = if name.starts_with("predictor") { "predictor" } else { "encoder" };
        let name = name
            .replace("predictor_blocks.", "layer.")
            .replace("predictor_embed.", "embeddings.predictor_embeddings.")
            .replace("predictor_norm.", "layernorm.")
            .replace("predictor_proj.", "proj.")
            .replace("patch_embed.", "embeddings.patch_embeddings.")
            .replace("attn.", "attention.");
        let name = match name.strip_prefix("blocks.") {
            Some(rest) => format!("layer.{rest}"),
            None => name,
        };
        let name = name.strip_prefix("norm.").map_or(name.clone(), |leaf| format!("layernorm.{leaf}"));
        match name.split_once("qkv.") {
            None => out.push((format!("{prefix}{part}.{name}"), shape.clone(), values.clone())),
            Some((path, leaf)) => {
                let mut third = shape.clone();
                third[0] /= 3;
                for (q, values) in ["query", "key", "value"].iter().zip(values.chunks_exact(values.len() / 3))
                {
                    out.push((format!("{prefix}{part}.{path}{q}.{leaf}"), third.clone(), values.to_vec()));
                }
            }
        }
    }
    if !masks.is_empty() {
        let shape = vec![TINY.mask_tokens, 1, 1, TINY.predictor.width];
        out.push((format!("{prefix}predictor.embeddings.mask_tokens"), shape, masks));
    }
    out
}

/// The file of the tiny network as the authors name its tensors, those of both parts by themselves.
fn official_parts() -> [Vec<NamedTensor>; 2] {
    [generated("v", &encoder(&TINY, Version::V2_0)), generated("v", &predictor(&TINY))]
}

const TINY_CONFIG: &str = r#"{"model_type": "vjepa2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2.0,
    "crop_size": 64, "frames_per_clip": 8, "pred_hidden_size": 24, "pred_num_hidden_layers": 2, "pred_num_attention_heads": 2,
    "pred_num_mask_tokens": 3, "layer_norm_eps": 1e-06, "qkv_bias": true, "hidden_act": "gelu", "something_new": [1]}"#;

#[test]
fn names_of_both_libraries_are_one_network() {
    let [enc, pred] = official_parts();
    let below = |path: &str, part: &[NamedTensor]| -> Vec<_> {
        part.iter()
            .map(|(name, shape, values)| (format!("{path}{name}"), shape.clone(), values.clone()))
            .collect()
    };
    let official = [below("encoder.backbone.", &enc), below("predictor.backbone.", &pred)].concat();
    let official = of_bytes(file(&official), None, &tiny_options()).unwrap();
    assert_eq!(official.source().layout(), Layout::Official);
    let all = features(&official, [1, 4, 64, 64]);
    let predict = |model: &Model| values(&model.predict(&all, &[vec![70, 65]], 2).unwrap());
    for prefix in ["", "vjepa2."] {
        let renamed = [hugging_face(prefix, &enc), hugging_face(prefix, &pred)].concat();
        let renamed = of_bytes(file(&renamed), Some(TINY_CONFIG), &OpenOptions::default()).unwrap();
        assert_eq!(renamed.source().layout(), Layout::HuggingFace);
        assert_eq!(renamed.info().parameters, official.info().parameters);
        assert_eq!(values(&features(&renamed, [1, 4, 64, 64])), values(&all));
        assert_eq!(predict(&renamed), predict(&official));
    }
    // An encoder alone, at the top of a file, and without its predictor.
    let alone = of_bytes(file(&enc), None, &tiny_options()).unwrap();
    assert_eq!(values(&features(&alone, [1, 4, 64, 64])), values(&all));
    assert!(alone.predictor().is_none());
}

/// The numbers of tensors of the published files follow from their shapes.
#[test]
fn published_networks_have_as_many_tensors_and_weights() {
    let count = |parameters: &[Parameter]| -> usize {
        parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    let large = Extents::LARGE;
    let huge = Extents { encoder: Trunk { width: 1280, depth: 32, heads: 16 }, hidden: 5120, ..large };
    let giant = Extents { encoder: Trunk { width: 1408, depth: 40, heads: 22 }, hidden: 6144, ..large };
    for (e, of_encoder, of_predictor) in [
        (large, 303_885_312, 22_086_016),
        (huge, 631_648_000, 22_282_880),
        (giant, 1_012_173_952, 22_381_312),
    ] {
        assert_eq!(count(&encoder(&e, Version::V2_0)), of_encoder);
        assert_eq!(count(&predictor(&e)), of_predictor);
    }
    // In Hugging Face's names: q, k and v apart, mask tokens in one.
    let tensors =
        |part: &[Parameter]| part.len() + 4 * part.iter().filter(|(n, _)| n.ends_with("qkv.weight")).count();
    assert_eq!(tensors(&encoder(&large, Version::V2_0)) + tensors(&predictor(&large)) - 10 + 1, 587);
}

#[test]
fn the_average_is_taken_unless_the_other_is_asked_for() {
    let [enc, _] = official_parts();
    let average = generated("average", &encoder(&TINY, Version::V2_0));
    let below = |path: &str, part: &[NamedTensor]| -> Vec<_> {
        part.iter()
            .map(|(name, shape, values)| (format!("{path}{name}"), shape.clone(), values.clone()))
            .collect()
    };
    let bytes =
        file(&[below("encoder.backbone.", &enc), below("target_encoder.backbone.", &average)].concat());
    let open =
        |which| of_bytes(bytes.clone(), None, &OpenOptions { encoder: which, ..tiny_options() }).unwrap();
    let of = |model: &Model| values(&features(model, [1, 2, 32, 32]));
    assert_eq!(of(&open(WhichEncoder::Auto)), of(&open(WhichEncoder::Target)));
    assert_ne!(of(&open(WhichEncoder::Auto)), of(&open(WhichEncoder::Online)));
    assert_eq!(of(&open(WhichEncoder::Online)), of(&of_bytes(file(&enc), None, &tiny_options()).unwrap()));
    let only = of_bytes(
        file(&below("encoder.", &enc)),
        None,
        &OpenOptions { encoder: WhichEncoder::Target, ..tiny_options() },
    );
    let error = only.unwrap_err().to_string();
    assert_eq!(error, "`tiny`: holds no averaged encoder (`target_encoder`); take the one that it holds");
}

/// A file of `torch.save` with several dictionaries of tensors, whose names a wrapper has lengthened, and a number beside them.
fn training_file(entries: &[(&str, &[NamedTensor])]) -> Vec<u8> {
    let mut pickle = Pickle::default().raw(b"}(");
    let mut files = vec![("archive/byteorder".to_owned(), b"little".to_vec())];
    for (key, tensors) in entries {
        pickle = pickle.text(key).raw(b"}(");
        for (name, shape, values) in *tensors {
            let storage = files.len().to_string();
            let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            let strides: Vec<i64> = (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect();
            pickle = pickle.text(&format!("module.backbone.{name}"));
            pickle = pickle.tensor("FloatStorage", &storage, values.len() as i64, 0, &shape, &strides);
            files.push((format!("archive/data/{storage}"), little_endian(values)));
        }
        pickle = pickle.raw(b"u");
    }
    files.push(("archive/data.pkl".to_owned(), pickle.text("epoch").int(3).raw(b"u").end()));
    archive(&files)
}

#[test]
fn training_checkpoints_are_read_without_being_run() {
    let [enc, pred] = official_parts();
    let average = generated("average", &encoder(&TINY, Version::V2_0));
    let bytes = training_file(&[("encoder", &enc), ("predictor", &pred), ("target_encoder", &average)]);
    let open =
        |which| of_bytes(bytes.clone(), None, &OpenOptions { encoder: which, ..tiny_options() }).unwrap();
    let (online, target) = (open(WhichEncoder::Online), open(WhichEncoder::Auto));
    let of = |model: &Model| values(&features(model, [1, 4, 64, 64]));
    assert_eq!(of(&online), of(&of_bytes(file(&enc), None, &tiny_options()).unwrap()));
    assert_eq!(of(&target), of(&of_bytes(file(&average), None, &tiny_options()).unwrap()));
    assert_eq!(online.predictor().is_some(), target.predictor().is_some());
    let without = OpenOptions { with_predictor: false, ..tiny_options() };
    assert!(of_bytes(bytes, None, &without).unwrap().predictor().is_none());
}

/// What does not fit is refused in one line.
#[test]
fn files_that_do_not_fit_are_refused() {
    let [enc, pred] = official_parts();
    let whole = || {
        [enc.clone(), pred.iter().map(|(n, s, v)| (format!("predictor.{n}"), s.clone(), v.clone())).collect()]
            .concat()
    };
    let refused = |tensors: &[NamedTensor], options: &OpenOptions, part: &str| {
        let error = of_bytes(file(tensors), None, options).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "`{error}` says nothing about `{part}`");
    };
    let without = |name: &str| -> Vec<_> { whole().into_iter().filter(|(n, ..)| n != name).collect() };
    refused(&without("blocks.1.mlp.fc2.bias"), &tiny_options(), "blocks.1.mlp.fc2.bias");
    refused(&without("norm.weight"), &tiny_options(), "norm.weight");
    refused(&without("predictor.predictor_norm.bias"), &tiny_options(), "predictor.predictor_norm.bias");
    refused(&without("predictor.mask_tokens.1"), &tiny_options(), "mask_tokens.2");
    refused(&without("patch_embed.proj.weight"), &tiny_options(), "holds no V-JEPA 2 encoder");
    let mut more = whole();
    more.push(("blocks.1.mlp.fc3.bias".to_owned(), vec![4], vec![0.0; 4]));
    refused(&more, &tiny_options(), "blocks.1.mlp.fc3.bias");
    // Tables of positions are left from other networks.
    let mut positions = whole();
    positions.push(("pos_embed".to_owned(), vec![1, 4, 32], vec![0.0; 128]));
    positions.push(("predictor.predictor_pos_embed".to_owned(), vec![1, 4, 24], vec![0.0; 96]));
    assert!(of_bytes(file(&positions), None, &tiny_options()).is_ok());
    let mut nan = whole();
    nan[0].2[3] = f32::NAN;
    refused(&nan, &tiny_options(), "patch_embed.proj.weight");
    // The number of heads shows in no shape.
    refused(&whole(), &OpenOptions { heads: None, ..tiny_options() }, "say how many heads it has");
    refused(&whole(), &OpenOptions { heads: Some(3), ..tiny_options() }, "cannot have 3 heads");
    refused(&whole(), &OpenOptions { heads: Some(0), ..tiny_options() }, "cannot have 0 heads");
    refused(&whole(), &OpenOptions { heads: Some(16), ..tiny_options() }, "cannot have 16 heads");
    refused(
        &whole(),
        &OpenOptions { predictor_heads: Some(5), ..tiny_options() },
        "predictor of width 24 cannot have 5 heads",
    );
    refused(&whole(), &OpenOptions { crop_size: Some(15), ..tiny_options() }, "hold no patch of 16");
}

#[test]
fn published_widths_have_their_heads() {
    let heads = |width: usize, heads: Option<usize>| {
        let e = Extents { encoder: Trunk { width, depth: 1, heads: 1 }, hidden: 8, ..TINY };
        let source = Source::from_bytes(
            "t",
            None,
            weight_file("v", &encoder(&e, Version::V2_0), DType::F16),
            WhichEncoder::Auto,
        );
        let options = OpenOptions { heads, ..OpenOptions::default() };
        Config::of(&source.unwrap(), &options).map(|config| config.encoder.heads).map_err(|e| e.to_string())
    };
    for (width, want) in [(192, 3), (384, 6), (768, 12), (1024, 16), (1280, 16), (1408, 22), (1664, 26)] {
        assert_eq!(heads(width, None), Ok(want));
    }
    assert_eq!(heads(1408, Some(16)), Ok(16));
    let error = heads(1024, Some(8)).unwrap_err();
    assert!(error.contains("has 16 heads in every published network, not 8"), "{error}");
}

#[test]
fn a_config_must_say_what_the_weights_are() {
    let [enc, pred] = official_parts();
    let bytes = file(&[hugging_face("", &enc), hugging_face("", &pred)].concat());
    let open = |config: &str| of_bytes(bytes.clone(), Some(config), &OpenOptions::default()).map(|_| ());
    open(TINY_CONFIG).unwrap();
    for (from, to, part) in [
        (r#""hidden_size": 32,"#, "", "`hidden_size` in its config.json is 1024, but its weights have 32"),
        (r#""hidden_size": 32"#, r#""hidden_size": 64"#, "`hidden_size` in its config.json is 64"),
        (r#""num_hidden_layers": 2,"#, r#""num_hidden_layers": 3,"#, "`num_hidden_layers`"),
        (r#""mlp_ratio": 2.0"#, r#""mlp_ratio": 4.0"#, "`mlp_ratio` in its config.json is 4"),
        (r#""pred_num_mask_tokens": 3"#, r#""pred_num_mask_tokens": 10"#, "`pred_num_mask_tokens`"),
        (r#""num_attention_heads": 2"#, r#""num_attention_heads": 5"#, "cannot have 5 heads"),
        (
            r#""num_attention_heads": 2"#,
            r#""num_attention_heads": "x""#,
            "`num_attention_heads` in its config.json must be",
        ),
        (
            r#""num_attention_heads": 2"#,
            r#""num_attention_heads": -2"#,
            "`num_attention_heads` in its config.json must be",
        ),
        (r#""crop_size": 64"#, r#""crop_size": 1e99"#, "`crop_size` in its config.json must be"),
        (r#""crop_size": 64"#, r#""crop_size": 99999999999"#, "`crop_size` in its config.json must be"),
        (
            r#""layer_norm_eps": 1e-06"#,
            r#""layer_norm_eps": -1"#,
            "`layer_norm_eps` in its config.json must be",
        ),
        (r#""qkv_bias": true"#, r#""qkv_bias": false"#, "`qkv_bias` in its config.json is false"),
        (r#""hidden_act": "gelu""#, r#""hidden_act": "silu""#, "`hidden_act`"),
        (r#"{"model_type""#, r#"{"model_type"#, "JSON"),
        (TINY_CONFIG, "[1]", "must be a JSON object"),
    ] {
        let error = open(&TINY_CONFIG.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "`{error}` says nothing about `{part}`");
    }
}

#[test]
fn an_untrained_network_is_known() {
    let [mut enc, _] = official_parts();
    assert!(!of_bytes(file(&enc), None, &tiny_options()).unwrap().info().is_untrained);
    let set = |enc: &mut Vec<NamedTensor>, name: &str, to: f32| {
        enc.iter_mut().filter(|(n, ..)| n == name).for_each(|(_, _, values)| values.fill(to));
    };
    set(&mut enc, "norm.weight", 1.0);
    assert!(!of_bytes(file(&enc), None, &tiny_options()).unwrap().info().is_untrained);
    set(&mut enc, "norm.bias", 0.0);
    assert!(of_bytes(file(&enc), None, &tiny_options()).unwrap().info().is_untrained);
}

#[test]
fn files_and_folders_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let [enc, pred] = official_parts();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.safetensors", &file(&[hugging_face("", &enc), hugging_face("", &pred)].concat()));
    write("config.json", TINY_CONFIG.as_bytes());
    let open = |path: &Path| Model::open(path, &Device::cpu(), Precision::F32, &OpenOptions::default());
    let model = open(folder.path()).unwrap();
    assert_eq!((model.config().crop_size, model.config().frames_per_clip), (64, 8));
    assert_eq!(model.sha256().len(), 64);
    // A config.json of another family says nothing.
    write("config.json", br#"{"model_type": "other", "num_attention_heads": 4}"#);
    let error = open(folder.path()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("say how many heads it has"), "{error}");
}

/// In the precisions of the CPU features stay near those of f32.
#[test]
fn precisions_of_the_cpu_agree() {
    let e = Extents {
        encoder: Trunk { width: 128, depth: 2, heads: 2 },
        hidden: 256,
        predictor: Trunk { width: 64, depth: 2, heads: 2 },
        ..TINY
    };
    let bytes = weight_file("v", &checkpoint(&e, Version::V2_0), DType::F32);
    let options = tiny_options();
    let run = |precision| {
        let source = Source::from_bytes("t", None, bytes.clone(), WhichEncoder::Auto).unwrap();
        let model = Model::load("t".to_owned(), source, &Device::cpu(), precision, &options).unwrap();
        let all = features(&model, [1, 4, 64, 64]);
        let context = all.subset(&[(0..16).collect()]).unwrap();
        (values(&all), values(&model.predict(&context, &[(16..32).collect()], 1).unwrap()))
    };
    let exact = run(Precision::F32);
    for (precision, limit) in
        [(Precision::Bf16, 3e-2), (Precision::Int8, 5e-2), (Precision::Q8, 3e-2), (Precision::Q4, 5e-1)]
    {
        let rough = run(precision);
        let errors = [distance(&exact.0, &rough.0), distance(&exact.1, &rough.1)];
        assert!(errors.iter().all(|&e| e < limit && e > 1e-5), "{precision}: {errors:?}");
    }
}

/// Bytes that chance has changed: whatever is refused is refused in one line, and what is accepted runs.
#[test]
fn changed_files_are_refused_in_one_line_or_run() {
    let [enc, pred] = official_parts();
    let bytes = file(&[hugging_face("", &enc), hugging_face("", &pred)].concat());
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut refused = 0;
    for round in 0..600 {
        let (mut weights, mut config) = (bytes.clone(), TINY_CONFIG.as_bytes().to_vec());
        for _ in 0..1 + below(3) {
            let byte = [below(256) as u8, b'0' + below(10) as u8, b' ', b'"'][below(4)];
            if round % 2 == 0 {
                let at = below(config.len());
                config[at] = byte;
            } else {
                weights[below(header)] = byte;
            }
        }
        let Ok(config) = String::from_utf8(config) else { continue };
        match of_bytes(weights, Some(&config), &OpenOptions::default()) {
            Ok(model) => {
                let features = features(&model, [1, 3, 33, 47]);
                assert!(features.count() > 0);
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                refused += 1;
            }
        }
    }
    assert!((100..600).contains(&refused), "{refused}");
}
