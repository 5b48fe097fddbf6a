//! The layers of a transformer.

use crate::{Tape, TapeError, Var};
use steropes_ops::attention::masked_sdpa::{Mask, sdpa_backward, sdpa_masked};
use steropes_ops::elementwise::activation::{gelu_backward, silu, silu_backward};
use steropes_ops::elementwise::arithmetic::mul;
use steropes_ops::elementwise::gated::{swiglu, swiglu_backward};
use steropes_ops::elementwise::gelu::gelu;
use steropes_ops::linalg::linear::{Activation, LinearWeights, linear};
use steropes_ops::linalg::matmul::Transposed;
use steropes_ops::norm::layer_norm::{layer_norm_backward, layer_norm_over};
use steropes_ops::norm::rms_norm::{rms_norm, rms_norm_backward};
use steropes_ops::norm::softmax::{softmax_axis, softmax_backward};
use steropes_ops::position::rope2d::{rope2d, rope2d_backward};
use steropes_tensor::Tensor;

impl Tape {
    /// `x Wᵀ + b`, of `x` `[.., inputs]`, `weight` `[outputs, inputs]` and `bias` `[outputs]`; a frozen weight costs no product.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn linear(&self, x: &Var, weight: &Var, bias: Option<&Var>) -> Result<Var, TapeError> {
        let packed = LinearWeights::pack(weight.value(), bias.map(Var::value))?;
        let value = linear(x.value(), &packed, Activation::Identity)?;
        let [outputs, inputs] = [packed.outputs(), packed.inputs()];
        let (rows, has_bias) = (value.len() / outputs.max(1), bias.is_some());
        let absent = Var::constant(weight.value().clone());
        let operands = [x, weight, bias.unwrap_or(&absent)];
        let [x, weight, bias] = operands.map(Var::clone);
        self.step(value, &operands[..if has_bias { 3 } else { 2 }], move |tape, gradient| {
            let gradient = tape.reshape(gradient, &[rows, outputs])?;
            let of_x = || tape.reshape(&tape.matmul(&gradient, &weight, Transposed::NONE)?, x.shape());
            let of_weight = || tape.matmul(&gradient, &tape.reshape(&x, &[rows, inputs])?, Transposed::A);
            let mut parts = vec![
                x.is_recorded().then(of_x).transpose()?,
                weight.is_recorded().then(of_weight).transpose()?,
            ];
            if has_bias {
                parts.push(bias.is_recorded().then(|| tape.sum(&gradient, 1)).transpose()?);
            }
            Ok(parts)
        })
    }

    /// Layer normalisation over the last axis, `weight` and `bias` `[width]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn layer_norm(&self, x: &Var, weight: &Var, bias: &Var, eps: f32) -> Result<Var, TapeError> {
        let shape = weight.shape().to_vec();
        let value = layer_norm_over(x.value(), &shape, Some(weight.value()), Some(bias.value()), eps)?;
        let (input, scale) = (x.value().clone(), weight.value().clone());
        self.first_order_step("layer_norm", value, &[x, weight, bias], move |gradient| {
            let (of_x, affine) = layer_norm_backward(&input, &shape, Some(&scale), eps, gradient)?;
            let (of_weight, of_bias) = affine.expect("a weight was given");
            Ok(vec![Some(of_x), Some(of_weight), Some(of_bias)])
        })
    }

    /// Normalisation by the root mean square over the last axis, `weight` `[width]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn rms_norm(&self, x: &Var, weight: &Var, eps: f32) -> Result<Var, TapeError> {
        let value = rms_norm(x.value(), Some(weight.value()), eps)?;
        let (input, scale) = (x.value().clone(), weight.value().clone());
        self.first_order_step("rms_norm", value, &[x, weight], move |gradient| {
            let (of_x, of_weight) = rms_norm_backward(&input, Some(&scale), eps, gradient)?;
            Ok(vec![Some(of_x), of_weight])
        })
    }

    /// The exact GELU.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn gelu(&self, x: &Var) -> Result<Var, TapeError> {
        let (value, input) = (gelu(x.value().clone())?, x.value().clone());
        self.first_order_step("gelu", value, &[x], move |gradient| {
            Ok(vec![Some(gelu_backward(&input, gradient.clone())?)])
        })
    }

    /// `x / (1 + e^-x)`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn silu(&self, x: &Var) -> Result<Var, TapeError> {
        let (value, input) = (silu(x.value().clone())?, x.value().clone());
        self.first_order_step("silu", value, &[x], move |gradient| {
            Ok(vec![Some(silu_backward(&input, gradient.clone())?)])
        })
    }

    /// `silu(gate) up`, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn swiglu(&self, gate: &Var, up: &Var) -> Result<Var, TapeError> {
        let value = swiglu(gate.value().clone(), up.value())?;
        let (a, b) = (gate.value().clone(), up.value().clone());
        self.first_order_step("swiglu", value, &[gate, up], move |gradient| {
            let (of_gate, of_up) = swiglu_backward(&a, &b, gradient)?;
            Ok(vec![Some(of_gate), Some(of_up)])
        })
    }

    /// Softmax along an axis.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn softmax(&self, x: &Var, axis: usize) -> Result<Var, TapeError> {
        let value = softmax_axis(x.value(), axis)?;
        let result = value.clone();
        self.first_order_step("softmax", value, &[x], move |gradient| {
            Ok(vec![Some(softmax_backward(&result, gradient, axis)?)])
        })
    }

    /// Scaled dot product attention of all queries to all keys: `q` `[batch, queries, heads, head_dim]`, `k` and `v` `[batch, keys, heads,
    /// head_dim]`, with fewer heads for groups of queries.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn sdpa(&self, q: &Var, k: &Var, v: &Var, causal: bool, scale: f32) -> Result<Var, TapeError> {
        let mask = || if causal { Mask::Causal } else { Mask::None };
        let attended = sdpa_masked(q.value(), k.value(), v.value(), mask(), scale)?;
        let value = attended.out.clone();
        let inputs = [q, k, v].map(|var| var.value().clone());
        self.first_order_step("sdpa", value, &[q, k, v], move |gradient| {
            let mask = if causal { Mask::Causal } else { Mask::None };
            let [q, k, v] = &inputs;
            let parts = sdpa_backward([q, k, v], &attended, gradient, mask, scale)?;
            Ok(vec![Some(parts.q), Some(parts.k), Some(parts.v)])
        })
    }

    /// Rotary positions of two axes; see [`steropes_ops::position::rope2d`].
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn rope2d(&self, x: &Var, positions: &Tensor, base: f32) -> Result<Var, TapeError> {
        let value = rope2d(x.value().clone(), positions, base)?;
        let positions = positions.clone();
        self.step(value, &[x], move |tape, gradient| {
            Ok(vec![Some(tape.unrope2d(gradient, &positions, base)?)])
        })
    }

    /// The turn of [`Tape::rope2d`] back.
    fn unrope2d(&self, x: &Var, positions: &Tensor, base: f32) -> Result<Var, TapeError> {
        let value = rope2d_backward(x.value().clone(), positions, base)?;
        let positions = positions.clone();
        self.step(value, &[x], move |tape, gradient| Ok(vec![Some(tape.rope2d(gradient, &positions, base)?)]))
    }

    /// Rows `[.., width]` divided by their length.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn normalize(&self, x: &Var) -> Result<Var, TapeError> {
        // The root mean square of a row is its length divided by the root of the width.
        let width = x.shape().last().copied().unwrap_or(1);
        let factor = (width as f32).sqrt().recip();
        let value = mul_number(rms_norm(x.value(), None, 0.0)?, factor)?;
        let input = x.value().clone();
        self.first_order_step("normalize", value, &[x], move |gradient| {
            let (of_x, _) = rms_norm_backward(&input, None, 0.0, &mul_number(gradient.clone(), factor)?)?;
            Ok(vec![Some(of_x)])
        })
    }
}

fn mul_number(x: Tensor, factor: f32) -> Result<Tensor, TapeError> {
    let number = Tensor::new(&x.device(), &[], vec![factor])?;
    Ok(mul(x, &number)?)
}
