//! Networks with weights that are generated from the names of their tensors: for benches of sizes whose published weights are
//! not at hand, and for stored outputs that any program can check.

use half::f16;
use rayon::prelude::*;
use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError};
use std::borrow::Cow;
use std::path::Path;
use steropes_tensor::DType;
use steropes_testkit::inputs::{fnv1a, uniform_at};

/// Name and shape of a tensor.
pub type Parameter = (String, Vec<usize>);

/// Widths of a DPT head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DptWidths {
    /// Channels of the fused maps.
    pub features: usize,
    /// Channels before the last layer.
    pub last: usize,
    /// Channels of the four stages.
    pub stages: [usize; 4],
}

/// The extents of a network of the family, as far as they decide the shapes of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Width of a token in the encoder.
    pub enc: usize,
    /// Width of a token in the decoder.
    pub dec: usize,
    /// Blocks of the encoder.
    pub enc_depth: usize,
    /// Blocks of each stream of the decoder.
    pub dec_depth: usize,
    /// Hidden width of a perceptron relative to its tokens.
    pub mlp_ratio: usize,
    /// Channels of a descriptor, if there are descriptors.
    pub descriptor: Option<usize>,
    /// Whether descriptors have a confidence of their own.
    pub has_own_confidence: bool,
    /// Whether the head is one linear layer.
    pub is_linear: bool,
    /// The DPT head.
    pub dpt: DptWidths,
}

impl Extents {
    /// Those of the published MASt3R ViT-L (arXiv:2406.09756): 688 million weights.
    pub const MAST3R_LARGE: Self = Self {
        patch: 16,
        enc: 1024,
        dec: 768,
        enc_depth: 24,
        dec_depth: 12,
        mlp_ratio: 4,
        descriptor: Some(24),
        has_own_confidence: true,
        is_linear: false,
        dpt: DptWidths { features: 256, last: 128, stages: [96, 192, 384, 768] },
    };

    /// A MASt3R network of a few thousand weights, for tests of files; [`Extents::TINY_ARGS`] builds it.
    pub const TINY: Self = Self {
        patch: 16,
        enc: 16,
        dec: 8,
        enc_depth: 1,
        dec_depth: 4,
        mlp_ratio: 2,
        descriptor: Some(3),
        has_own_confidence: true,
        is_linear: false,
        dpt: DptWidths { features: 8, last: 4, stages: [4, 4, 8, 8] },
    };

    /// The constructor call of [`Extents::TINY`].
    pub const TINY_ARGS: &str = "AsymmetricMASt3R(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), \
                    head_type='catmlp+dpt', output_mode='pts3d+desc3', depth_mode=('exp', -inf, inf), \
                    conf_mode=('exp', 1, inf), enc_embed_dim=16, enc_depth=1, enc_num_heads=2, dec_embed_dim=8, \
                    dec_depth=4, dec_num_heads=2, mlp_ratio=2, two_confs=True, desc_conf_mode=('exp', 0, inf), \
                    landscape_only=False)";
}

/// The extents of a DUNE encoder, as far as they decide the shapes of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuneExtents {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Width of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Side of the grid of learned positions.
    pub side: usize,
    /// Number of register tokens.
    pub registers: usize,
}

impl DuneExtents {
    /// Those of the published ViT-S/14 for 448 pixels (arXiv:2503.14405): 22 million weights.
    pub const SMALL: Self = Self { patch: 14, width: 384, depth: 12, side: 32, registers: 4 };
    /// Those of the published ViT-B/14 for 448 pixels: 86 million weights.
    pub const BASE: Self = Self { width: 768, ..Self::SMALL };

    /// Those of a published pair network with this encoder.
    pub const fn pair(&self) -> Extents {
        Extents { patch: self.patch, enc: self.width, enc_depth: 0, ..Extents::MAST3R_LARGE }
    }
}

/// All tensors of a network with a DUNE encoder, in one file, where `pair` are the extents of its pair network.
pub fn dune_parameters(encoder: &DuneExtents, pair: &Extents) -> Vec<Parameter> {
    let named = |path: &'static str| move |(name, shape): Parameter| (format!("{path}.{name}"), shape);
    let mut out: Vec<_> = dune_encoder(encoder).into_iter().map(named("dune_backbone")).collect();
    norms(&mut out, "", &["norm"], encoder.width);
    out.extend(parameters(pair).into_iter().map(named("mast3r")));
    out
}

fn dune_encoder(e: &DuneExtents) -> Vec<Parameter> {
    let width = e.width;
    let mut out = vec![
        ("cls_token".to_owned(), vec![1, 1, width]),
        ("pos_embed".to_owned(), vec![1, 1 + e.side * e.side, width]),
        ("mask_token".to_owned(), vec![1, width]),
    ];
    if e.registers > 0 {
        out.push(("register_tokens".to_owned(), vec![1, e.registers, width]));
    }
    layer(&mut out, "patch_embed.proj", &[width, 3, e.patch, e.patch]);
    for i in 0..e.depth {
        let block = format!("blocks.0.{i}");
        norms(&mut out, &block, &["norm1", "norm2"], width);
        layer(&mut out, &format!("{block}.attn.qkv"), &[3 * width, width]);
        layer(&mut out, &format!("{block}.attn.proj"), &[width, width]);
        mlp(&mut out, &format!("{block}.mlp"), [width, 4 * width, width]);
        out.extend(["ls1", "ls2"].map(|scale| (format!("{block}.{scale}.gamma"), vec![width])));
    }
    norms(&mut out, "", &["norm"], width);
    out
}

/// All tensors of a network under the names of its checkpoint, aliases by their first name.
pub fn parameters(e: &Extents) -> Vec<Parameter> {
    let mut out = vec![
        ("mask_token".to_owned(), vec![1, 1, e.dec]),
        ("patch_embed.proj.weight".to_owned(), vec![e.enc, 3, e.patch, e.patch]),
        ("patch_embed.proj.bias".to_owned(), vec![e.enc]),
    ];
    for i in 0..e.enc_depth {
        let block = format!("enc_blocks.{i}");
        norms(&mut out, &block, &["norm1", "norm2"], e.enc);
        layer(&mut out, &format!("{block}.attn.qkv"), &[3 * e.enc, e.enc]);
        layer(&mut out, &format!("{block}.attn.proj"), &[e.enc, e.enc]);
        mlp(&mut out, &format!("{block}.mlp"), [e.enc, e.mlp_ratio * e.enc, e.enc]);
    }
    norms(&mut out, "", &["enc_norm"], e.enc);
    layer(&mut out, "decoder_embed", &[e.dec, e.enc]);
    for stack in ["dec_blocks", "dec_blocks2"] {
        for i in 0..e.dec_depth {
            decoder_block(&mut out, &format!("{stack}.{i}"), e);
        }
    }
    norms(&mut out, "", &["dec_norm"], e.dec);
    for i in [1, 2] {
        head(&mut out, &format!("downstream_head{i}"), e);
    }
    out
}

fn decoder_block(out: &mut Vec<Parameter>, block: &str, e: &Extents) {
    norms(out, block, &["norm1", "norm2", "norm3", "norm_y"], e.dec);
    layer(out, &format!("{block}.attn.qkv"), &[3 * e.dec, e.dec]);
    layer(out, &format!("{block}.attn.proj"), &[e.dec, e.dec]);
    for part in ["projq", "projk", "projv", "proj"] {
        layer(out, &format!("{block}.cross_attn.{part}"), &[e.dec, e.dec]);
    }
    mlp(out, &format!("{block}.mlp"), [e.dec, e.mlp_ratio * e.dec, e.dec]);
}

fn head(out: &mut Vec<Parameter>, head: &str, e: &Extents) {
    let area = e.patch * e.patch;
    if e.is_linear {
        layer(out, &format!("{head}.proj"), &[4 * area, e.dec]);
        return;
    }
    dpt(out, &format!("{head}.dpt"), e);
    if let Some(dim) = e.descriptor {
        let inputs = e.enc + e.dec;
        let outputs = (dim + usize::from(e.has_own_confidence)) * area;
        mlp(out, &format!("{head}.head_local_features"), [inputs, 4 * inputs, outputs]);
    }
}

fn dpt(out: &mut Vec<Parameter>, dpt: &str, e: &Extents) {
    let DptWidths { features: f, last, stages } = e.dpt;
    for (i, width) in stages.into_iter().enumerate() {
        let inputs = if i == 0 { e.enc } else { e.dec };
        layer(out, &format!("{dpt}.act_postprocess.{i}.0"), &[width, inputs, 1, 1]);
        let kernel = [4, 2, 0, 3][i];
        if kernel > 0 {
            layer(out, &format!("{dpt}.act_postprocess.{i}.1"), &[width, width, kernel, kernel]);
        }
        out.push((format!("{dpt}.scratch.layer{}_rn.weight", i + 1), vec![f, width, 3, 3]));
        let refine = format!("{dpt}.scratch.refinenet{}", i + 1);
        layer(out, &format!("{refine}.out_conv"), &[f, f, 1, 1]);
        for unit in ["resConfUnit1.conv1", "resConfUnit1.conv2", "resConfUnit2.conv1", "resConfUnit2.conv2"] {
            layer(out, &format!("{refine}.{unit}"), &[f, f, 3, 3]);
        }
    }
    layer(out, &format!("{dpt}.head.0"), &[f / 2, f, 3, 3]);
    layer(out, &format!("{dpt}.head.2"), &[last, f / 2, 3, 3]);
    layer(out, &format!("{dpt}.head.4"), &[4, last, 1, 1]);
}

pub(crate) fn norms(out: &mut Vec<Parameter>, parent: &str, names: &[&str], width: usize) {
    let dot = if parent.is_empty() { "" } else { "." };
    for name in names {
        out.push((format!("{parent}{dot}{name}.weight"), vec![width]));
        out.push((format!("{parent}{dot}{name}.bias"), vec![width]));
    }
}

pub(crate) fn layer(out: &mut Vec<Parameter>, name: &str, shape: &[usize]) {
    out.push((format!("{name}.weight"), shape.to_vec()));
    out.push((format!("{name}.bias"), vec![shape[0]]));
}

pub(crate) fn mlp(out: &mut Vec<Parameter>, name: &str, [inputs, hidden, outputs]: [usize; 3]) {
    layer(out, &format!("{name}.fc1"), &[hidden, inputs]);
    layer(out, &format!("{name}.fc2"), &[outputs, hidden]);
}

/// The name that the values of `name` are generated from: aliases of one tensor share it.
pub fn first_name(name: &str) -> String {
    match name.split_once(".scratch.layer_rn.") {
        Some((head, rest)) => {
            match rest.split_once('.').and_then(|(i, leaf)| Some((i.parse::<u32>().ok()?, leaf))) {
                Some((i, leaf)) => format!("{head}.scratch.layer{}_rn.{leaf}", i + 1),
                None => name.to_owned(),
            }
        }
        None => name.to_owned(),
    }
}

/// The values of the weight `name`, from the rules of the golden files: computed in f64, rounded to f32.
pub fn weight(salt: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let name = first_name(name);
    let (offset, scale) = affine(&name, shape);
    let hash = fnv1a(&format!("{salt}{name}"));
    let len: usize = shape.iter().product();
    (0..len as u64).into_par_iter().map(|i| (offset + scale(uniform_at(hash, i))) as f32).collect()
}

/// What a uniform number of a tensor is multiplied by and added to.
fn affine(name: &str, shape: &[usize]) -> (f64, Box<dyn Fn(f64) -> f64 + Sync>) {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let is_norm = name.split('.').any(|c| c.starts_with("norm") || c == "enc_norm" || c == "dec_norm");
    match leaf {
        "gamma" => return (0.5, Box::new(|u| 0.25 * u)),
        "weight" if is_norm => return (1.0, Box::new(|u| 0.2 * u)),
        "bias" | "m" => return (0.0, Box::new(|u| 0.1 * u)),
        "cls_token" | "register_tokens" | "pos_embed" | "mask_token" => return (0.0, Box::new(|u| 0.5 * u)),
        _ => {}
    }
    let is_transposed =
        ["act_postprocess.0.1.weight", "act_postprocess.1.1.weight"].iter().any(|end| name.ends_with(end));
    let fan: usize = if is_transposed { shape[0] } else { shape[1..].iter().product() };
    let factor = if name.ends_with("dpt.head.4.weight") {
        0.05
    } else if name.ends_with("_head1.proj.weight") || name.ends_with("_head2.proj.weight") {
        0.25
    } else {
        1.0
    };
    let root = (3.0 / fan as f64).sqrt();
    (0.0, Box::new(move |u| u * root * factor))
}

/// A safetensors file with the generated weights, as f32 or f16.
///
/// # Panics
/// If `dtype` is another one.
pub fn weight_file(salt: &str, parameters: &[Parameter], dtype: DType) -> Vec<u8> {
    safetensors::serialize(generated(salt, parameters, dtype), None).expect("sound tensors")
}

/// [`weight_file`] at `path`, without holding more than one tensor in memory.
///
/// # Errors
/// What the system says about the file.
///
/// # Panics
/// If `dtype` is neither f32 nor f16.
pub fn write_weight_file(
    path: &Path,
    salt: &str,
    parameters: &[Parameter],
    dtype: DType,
) -> Result<(), SafeTensorError> {
    safetensors::serialize_to_file(generated(salt, parameters, dtype), None, path)
}

fn generated<'a>(
    salt: &'a str,
    parameters: &'a [Parameter],
    dtype: DType,
) -> impl Iterator<Item = (&'a str, Generated<'a>)> {
    let dtype = match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        other => panic!("weights are generated as f32 or f16, not {other}"),
    };
    parameters.iter().map(move |(name, shape)| (name.as_str(), Generated { salt, name, shape, dtype }))
}

/// A tensor that is generated when it is written.
struct Generated<'a> {
    salt: &'a str,
    name: &'a str,
    shape: &'a [usize],
    dtype: Dtype,
}

impl View for Generated<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = weight(self.salt, self.name, self.shape);
        Cow::Owned(match self.dtype {
            Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            _ => little_endian(&values),
        })
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// The bytes of the values as files hold them.
pub fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_networks_have_as_many_weights() {
        let count = |parameters: Vec<Parameter>| -> usize {
            parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count(parameters(&Extents::MAST3R_LARGE)), 688_638_856);
        for (e, encoder, pair) in
            [(DuneExtents::SMALL, 21_925_632, 323_479_888), (DuneExtents::BASE, 86_318_592, 347_389_648)]
        {
            assert_eq!(count(dune_encoder(&e)), encoder);
            assert_eq!(count(dune_parameters(&e, &e.pair())), encoder + pair);
        }
    }
}
