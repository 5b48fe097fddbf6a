//! The forward pass of a two-view network on a tape: encoder, decoder, and descriptors of sampled pixels.
//!
//! It computes what `steropes_models::Model` computes, from the same parameters, without the parts that have convolutions.
//!
//! Sources: DUSt3R, arXiv:2312.14132; MASt3R, arXiv:2406.09756; CroCo v2, arXiv:2211.10408.

use crate::{Tape, TapeError, TrainError, Var};
use std::collections::BTreeMap;
use steropes_models::mast3r::{Config, EncoderKind, HeadKind, Trunk};
use steropes_nn::Weights;
use steropes_ops::vision::pointmap::ConfidenceMode;
use steropes_tensor::{Device, Tensor, TensorError};

/// Parameters by their names in a checkpoint; tied ones are there under each of their names.
pub type Named = BTreeMap<String, Var>;

/// A network, without its parameters.
#[derive(Clone, Debug)]
pub struct Network {
    patch: usize,
    encoder: Trunk,
    decoder: Trunk,
    mlp_ratio: f64,
    rope_base: f32,
    norm_eps: f32,
    norm_memory: bool,
    descriptor_dim: usize,
    confidence: Option<ConfidenceMode>,
    /// Width of the hidden layer of each descriptor head.
    hidden: [usize; 2],
    /// Whether blocks keep nothing for the gradients and run again.
    pub checkpoints: bool,
}

/// Images of one size as the network reads them.
#[derive(Clone, Debug)]
pub struct Views {
    /// `[batch, tokens, 3 patch patch]`, of each patch its channels, rows, columns.
    patches: Tensor,
    /// (row, column) of each patch, `[batch, tokens, 2]`.
    positions: Tensor,
    /// Columns of patches.
    columns: usize,
}

/// One view after the network.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Normalised tokens of the encoder, `[batch, tokens, width]`.
    pub encoder: Var,
    /// Normalised tokens of the decoder, `[batch, tokens, width]`.
    pub decoder: Var,
    columns: usize,
}

impl Views {
    /// Images `[batch, height, width, 3]` of values in [-1, 1], whose sides are multiples of `patch`.
    ///
    /// # Errors
    /// [`TensorError`] if there are not as many values, or the device has no memory for them.
    ///
    /// # Panics
    /// If a side is no multiple of `patch`.
    pub fn new(
        device: &Device,
        [batch, height, width]: [usize; 3],
        patch: usize,
        values: &[f32],
    ) -> Result<Self, TensorError> {
        assert!(
            height.is_multiple_of(patch) && width.is_multiple_of(patch),
            "sides are multiples of a patch"
        );
        if values.len() != 3 * batch * height * width {
            return Err(
                Tensor::new(device, &[batch, height, width, 3], values.to_vec()).expect_err("too few")
            );
        }
        let [rows, columns] = [height / patch, width / patch];
        let mut patches = Vec::with_capacity(values.len());
        for token in 0..batch * rows * columns {
            let (image, row, column) = (token / (rows * columns), token / columns % rows, token % columns);
            for at in 0..3 * patch * patch {
                let (channel, i, j) = (at / (patch * patch), at / patch % patch, at % patch);
                let pixel = (image * height + row * patch + i) * width + column * patch + j;
                patches.push(values[3 * pixel + channel]);
            }
        }
        let places: Vec<u32> =
            (0..rows as u32).flat_map(|r| (0..columns as u32).flat_map(move |c| [r, c])).collect();
        Ok(Self {
            patches: Tensor::new(device, &[batch, rows * columns, 3 * patch * patch], patches)?,
            positions: Tensor::new(device, &[batch, rows * columns, 2], places.repeat(batch))?,
            columns,
        })
    }
}

impl Network {
    /// The network of a configuration; only the widths of its descriptor heads are read from the weights.
    ///
    /// # Errors
    /// [`TrainError::Refused`] if its encoder is not CroCo's or it has no descriptors, [`TrainError::Load`] if the weights lack a head.
    pub fn new(model: &str, config: &Config, weights: &Weights<'_>) -> Result<Self, TrainError> {
        let refused =
            |problem: &str| TrainError::Refused { model: model.to_owned(), problem: problem.to_owned() };
        let EncoderKind::Croco(encoder) = config.encoder else {
            return Err(refused("networks with a DUNE encoder are not trained"));
        };
        let HeadKind::DptWithFeatures { descriptor_dim, confidence } = config.head else {
            return Err(refused("it has no descriptors, which are what is trained; give a MASt3R network"));
        };
        let hidden = |i: usize| -> Result<usize, TrainError> {
            let [hidden, _] = weights.at(features(i)).shape("fc1.weight")?;
            Ok(hidden)
        };
        Ok(Self {
            patch: config.patch_size,
            encoder,
            decoder: config.decoder,
            mlp_ratio: config.mlp_ratio,
            rope_base: config.rope_base,
            norm_eps: config.norm_eps,
            norm_memory: config.norm_memory,
            descriptor_dim,
            confidence,
            hidden: [hidden(0)?, hidden(1)?],
            checkpoints: false,
        })
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Channels of a descriptor.
    pub fn descriptor_dim(&self) -> usize {
        self.descriptor_dim
    }

    /// Names and shapes of all parameters that it reads.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut out = Vec::new();
        let (enc, dec) = (self.encoder.width, self.decoder.width);
        layer(&mut out, "patch_embed.proj", &[enc, 3, self.patch, self.patch]);
        for i in 0..self.encoder.depth {
            let block = format!("enc_blocks.{i}");
            norms(&mut out, &block, &["norm1", "norm2"], enc);
            layer(&mut out, &format!("{block}.attn.qkv"), &[3 * enc, enc]);
            layer(&mut out, &format!("{block}.attn.proj"), &[enc, enc]);
            mlp(&mut out, &format!("{block}.mlp"), [enc, self.wide(enc), enc]);
        }
        norm(&mut out, "enc_norm", enc);
        layer(&mut out, "decoder_embed", &[dec, enc]);
        for block in
            STACKS.iter().flat_map(|stack| (0..self.decoder.depth).map(move |i| format!("{stack}.{i}")))
        {
            norms(&mut out, &block, &["norm1", "norm2", "norm3"], dec);
            if self.norm_memory {
                norms(&mut out, &block, &["norm_y"], dec);
            }
            layer(&mut out, &format!("{block}.attn.qkv"), &[3 * dec, dec]);
            layer(&mut out, &format!("{block}.attn.proj"), &[dec, dec]);
            for part in ["projq", "projk", "projv", "proj"] {
                layer(&mut out, &format!("{block}.cross_attn.{part}"), &[dec, dec]);
            }
            mlp(&mut out, &format!("{block}.mlp"), [dec, self.wide(dec), dec]);
        }
        norm(&mut out, "dec_norm", dec);
        for (i, hidden) in self.hidden.into_iter().enumerate() {
            let outputs = self.channels() * self.patch * self.patch;
            mlp(&mut out, &features(i), [enc + dec, hidden, outputs]);
        }
        out
    }

    /// Channels of a pixel: its descriptor and, if it has one of its own, the confidence.
    fn channels(&self) -> usize {
        self.descriptor_dim + usize::from(self.confidence.is_some())
    }

    fn wide(&self, width: usize) -> usize {
        (width as f64 * self.mlp_ratio) as usize
    }

    /// Both views of a batch of pairs after encoder and decoder.
    ///
    /// # Errors
    /// [`TapeError`] if a parameter is missing or an op refuses its arguments.
    pub fn forward(&self, tape: &Tape, named: &Named, views: [&Views; 2]) -> Result<[Tokens; 2], TapeError> {
        let [first, second] = views;
        let encoded = [self.encode(tape, named, first)?, self.encode(tape, named, second)?];
        let [one, two] =
            self.decode(tape, named, [&encoded[0], &encoded[1]], [&first.positions, &second.positions])?;
        let [left, right] = encoded;
        Ok([
            Tokens { encoder: left, decoder: one, columns: first.columns },
            Tokens { encoder: right, decoder: two, columns: second.columns },
        ])
    }

    fn encode(&self, tape: &Tape, named: &Named, views: &Views) -> Result<Var, TapeError> {
        let root = Layers::new(tape, named, "", self.norm_eps);
        let embed = root.at("patch_embed.proj");
        let weight = embed.get("weight")?;
        let flat = [self.encoder.width, 3 * self.patch * self.patch];
        let weight = tape.reshape(weight, &flat)?;
        let patches = Var::constant(views.patches.clone());
        let mut x = tape.linear(&patches, &weight, Some(embed.get("bias")?))?;
        let (heads, base) = (self.encoder.heads, self.rope_base);
        for i in 0..self.encoder.depth {
            let positions = views.positions.clone();
            x = self.block(&root.at(&format!("enc_blocks.{i}")), &[&x], move |at, x| {
                let x = at
                    .tape
                    .add(&x[0], &at.self_attention(&at.norm(&x[0], "norm1")?, &positions, heads, base)?)?;
                at.tape.add(&x, &at.at("mlp").mlp(&at.norm(&x, "norm2")?)?)
            })?;
        }
        root.norm(&x, "enc_norm")
    }

    /// In each layer both streams read the other's tokens as they entered the layer.
    fn decode(
        &self,
        tape: &Tape,
        named: &Named,
        encoded: [&Var; 2],
        positions: [&Tensor; 2],
    ) -> Result<[Var; 2], TapeError> {
        let root = Layers::new(tape, named, "", self.norm_eps);
        let embed = root.at("decoder_embed");
        let mut x = [embed.linear(encoded[0])?, embed.linear(encoded[1])?];
        for i in 0..self.decoder.depth {
            let next = |own: usize, other: usize| {
                let at = root.at(&format!("{}.{i}", STACKS[own]));
                self.decoder_block(&at, [&x[own], &x[other]], [positions[own], positions[other]])
            };
            x = [next(0, 1)?, next(1, 0)?];
        }
        Ok([root.norm(&x[0], "dec_norm")?, root.norm(&x[1], "dec_norm")?])
    }

    /// `x += attn(norm1(x)); x += cross_attn(norm2(x), norm_y(y)); x += mlp(norm3(x))`.
    fn decoder_block(
        &self,
        at: &Layers<'_>,
        streams: [&Var; 2],
        positions: [&Tensor; 2],
    ) -> Result<Var, TapeError> {
        let (heads, base, norm_memory) = (self.decoder.heads, self.rope_base, self.norm_memory);
        let positions = positions.map(Tensor::clone);
        self.block(at, &streams, move |at, streams| {
            let (tape, [x, y]) = (at.tape, [&streams[0], &streams[1]]);
            let x = tape.add(x, &at.self_attention(&at.norm(x, "norm1")?, &positions[0], heads, base)?)?;
            let memory = if norm_memory { at.norm(y, "norm_y")? } else { y.clone() };
            let cross = at.at("cross_attn");
            let query = cross.at("projq").linear(&at.norm(&x, "norm2")?)?;
            let [key, value] = [cross.at("projk").linear(&memory)?, cross.at("projv").linear(&memory)?];
            let x = tape.add(
                &x,
                &cross.attend([&query, &key, &value], [&positions[0], &positions[1]], heads, base)?,
            )?;
            tape.add(&x, &at.at("mlp").mlp(&at.norm(&x, "norm3")?)?)
        })
    }

    /// Runs a block on `streams` with the parameters below `at`, as a checkpoint if that is wanted.
    fn block(
        &self,
        at: &Layers<'_>,
        streams: &[&Var],
        body: impl Fn(&Layers<'_>, &[Var]) -> Result<Var, TapeError> + 'static,
    ) -> Result<Var, TapeError> {
        let count = streams.len();
        if !self.checkpoints {
            let streams: Vec<Var> = streams.iter().map(|&var| var.clone()).collect();
            return body(at, &streams);
        }
        let prefix = at.full("");
        let own = at.named.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let (names, vars): (Vec<String>, Vec<&Var>) = own.map(|(name, var)| (name.clone(), var)).unzip();
        let inputs: Vec<&Var> = streams.iter().copied().chain(vars).collect();
        let (path, eps) = (at.path.clone(), at.eps);
        at.tape.checkpoint(&inputs, move |tape, vars| {
            let named: Named = names.iter().cloned().zip(vars[count..].iter().cloned()).collect();
            body(&Layers { tape, named: &named, path: path.clone(), eps }, &vars[..count])
        })
    }

    /// Unit descriptors `[pixels, dim]` and confidences `[pixels]` of the pixels (image, row, column) of the first (0) or the second (1)
    /// view of the pairs. Without a confidence of their own, descriptors have one of 1.
    ///
    /// # Errors
    /// [`TapeError`] if a parameter is missing or an op refuses its arguments.
    ///
    /// # Panics
    /// If `view` is neither.
    pub fn descriptors(
        &self,
        tape: &Tape,
        named: &Named,
        view: usize,
        tokens: &Tokens,
        pixels: &[[u32; 3]],
    ) -> Result<[Var; 2], TapeError> {
        let head = Layers::new(tape, named, &features(view), self.norm_eps);
        let all = head.mlp(&tape.concat(&tokens.encoder, &tokens.decoder)?)?;
        let [_, count, width] = *all.shape() else { unreachable!("tokens have three extents") };
        let flat = tape.reshape(&all, &[all.value().len(), 1])?;
        // Value `c` of pixel (i, j) of a patch is the output `(c patch + i) patch + j` of its token.
        let (patch, dim) = (self.patch, self.descriptor_dim);
        let first = |&[image, row, column]: &[u32; 3]| {
            let [row, column] = [row as usize, column as usize];
            let token = image as usize * count + row / patch * tokens.columns + column / patch;
            token * width + row % patch * patch + column % patch
        };
        let firsts: Vec<usize> = pixels.iter().map(first).collect();
        let pick = |channels: std::ops::Range<usize>| {
            let places = firsts.iter().flat_map(|&at| channels.clone().map(move |c| at + c * patch * patch));
            tape.select_rows(&flat, &places.map(|place| place as u32).collect::<Vec<_>>())
        };
        let raw = tape.reshape(&pick(0..dim)?, &[pixels.len(), dim])?;
        let confidence = match self.confidence {
            None => Var::constant(Tensor::new(
                &raw.value().device(),
                &[pixels.len()],
                vec![1.0f32; pixels.len()],
            )?),
            Some(mode) => tape.confidence(&tape.reshape(&pick(dim..dim + 1)?, &[pixels.len()])?, mode)?,
        };
        Ok([tape.normalize(&raw)?, confidence])
    }
}

/// The blocks of both streams of the decoder.
const STACKS: [&str; 2] = ["dec_blocks", "dec_blocks2"];

/// The path of the descriptor head of a view.
fn features(view: usize) -> String {
    format!("downstream_head{}.head_local_features", view + 1)
}

fn layer(out: &mut Vec<(String, Vec<usize>)>, name: &str, shape: &[usize]) {
    out.push((format!("{name}.weight"), shape.to_vec()));
    out.push((format!("{name}.bias"), vec![shape[0]]));
}

fn mlp(out: &mut Vec<(String, Vec<usize>)>, name: &str, [inputs, hidden, outputs]: [usize; 3]) {
    layer(out, &format!("{name}.fc1"), &[hidden, inputs]);
    layer(out, &format!("{name}.fc2"), &[outputs, hidden]);
}

fn norm(out: &mut Vec<(String, Vec<usize>)>, name: &str, width: usize) {
    out.extend(["weight", "bias"].map(|leaf| (format!("{name}.{leaf}"), vec![width])));
}

fn norms(out: &mut Vec<(String, Vec<usize>)>, parent: &str, names: &[&str], width: usize) {
    names.iter().for_each(|name| norm(out, &format!("{parent}.{name}"), width));
}

/// A place in the tree of parameters on a tape.
struct Layers<'a> {
    tape: &'a Tape,
    named: &'a Named,
    path: String,
    /// What is added to the variance in the normalisations.
    eps: f32,
}

impl<'a> Layers<'a> {
    fn new(tape: &'a Tape, named: &'a Named, path: &str, eps: f32) -> Self {
        Self { tape, named, path: path.to_owned(), eps }
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn at(&self, part: &str) -> Self {
        Self { path: self.full(part), ..*self }
    }

    fn get(&self, name: &str) -> Result<&'a Var, TapeError> {
        let full = self.full(name);
        self.named.get(&full).ok_or(TapeError::Missing(full))
    }

    fn norm(&self, x: &Var, name: &str) -> Result<Var, TapeError> {
        let at = self.at(name);
        self.tape.layer_norm(x, at.get("weight")?, at.get("bias")?, self.eps)
    }

    fn linear(&self, x: &Var) -> Result<Var, TapeError> {
        self.tape.linear(x, self.get("weight")?, Some(self.get("bias")?))
    }

    /// `fc2(gelu(fc1(x)))`.
    fn mlp(&self, x: &Var) -> Result<Var, TapeError> {
        self.at("fc2").linear(&self.tape.gelu(&self.at("fc1").linear(x)?)?)
    }

    /// The attention `attn` of tokens to themselves; the rows of `qkv` are those of queries, then keys, then values.
    fn self_attention(&self, x: &Var, positions: &Tensor, heads: usize, base: f32) -> Result<Var, TapeError> {
        let at = self.at("attn");
        let (weight, bias, width) = (at.get("qkv.weight")?, at.get("qkv.bias")?, x.shape()[2]);
        let part = |i: usize| {
            let rows = || i * width..(i + 1) * width;
            self.tape.linear(x, &self.tape.rows(weight, rows())?, Some(&self.tape.rows(bias, rows())?))
        };
        at.attend([&part(0)?, &part(1)?, &part(2)?], [positions; 2], heads, base)
    }

    /// `proj(sdpa(query, key, value))`, with queries and keys turned to their positions.
    fn attend(
        &self,
        [query, key, value]: [&Var; 3],
        positions: [&Tensor; 2],
        heads: usize,
        base: f32,
    ) -> Result<Var, TapeError> {
        let (tape, head_dim) = (self.tape, query.shape()[2] / heads);
        let split = |x: &Var| tape.reshape(x, &[x.shape()[0], x.shape()[1], heads, head_dim]);
        let query_turned = tape.rope2d(&split(query)?, positions[0], base)?;
        let key_turned = tape.rope2d(&split(key)?, positions[1], base)?;
        let scale = (head_dim as f32).sqrt().recip();
        let attended = tape.sdpa(&query_turned, &key_turned, &split(value)?, false, scale)?;
        self.at("proj").linear(&tape.reshape(&attended, query.shape())?)
    }
}
