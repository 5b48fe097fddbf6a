//! The activations and their derivatives, on vectors of the CPU and as text for kernels.

use super::Activation;
use crate::cpu::math::{exp, gelu, normal_tail};
use crate::cpu::simd::{Lane, Simd};
use steropes_tensor::Header;

/// `2 sqrt(2/π)`: the tanh form is `x σ(v)` with `v = x (FIRST + THIRD x²)`.
const FIRST: f32 = 1.595_769_2;

/// `2 sqrt(2/π) 0.044715`.
const THIRD: f32 = 0.071_354_82;

/// From here on the tanh form is `x` or 0, and its cubes stay finite.
const FAR: f32 = 20.0;

impl Activation {
    /// Of `x`.
    #[inline(always)]
    pub(crate) fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Gelu => gelu(s, x),
            Self::GeluTanh => x * sigmoid(s, cubic(s, x)[0])[0],
            Self::Silu => x * sigmoid(s, x)[0],
        }
    }

    /// Its derivative at `x`.
    #[inline(always)]
    pub(crate) fn slope<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Gelu => {
                let tail = normal_tail(s, s.splat(7.0).min(x.abs()));
                let below = x.if_less(s.splat(0.0), tail, s.splat(1.0) - tail);
                // 1 / sqrt(2π), the density at 0.
                let density = exp(s, x * x * s.splat(-0.5)) * s.splat(0.398_942_3);
                x.mul_add(density, below)
            }
            Self::GeluTanh => {
                let [v, rise] = cubic(s, x);
                let [value, slope] = sigmoid(s, v);
                x.mul_add(rise * slope, value)
            }
            Self::Silu => {
                let [value, slope] = sigmoid(s, x);
                x.mul_add(slope, value)
            }
        }
    }

    /// The header with `activated(x: Quad) -> Quad` and `slope(x: Quad) -> Quad`, its derivative.
    pub(crate) fn header(self, header: Header) -> Header {
        match self {
            Self::Gelu => header.text(include_str!("gelu.wgsl")),
            Self::GeluTanh => header.text(include_str!("sigmoid.wgsl")).text(include_str!("gelu_tanh.wgsl")),
            Self::Silu => header.text(include_str!("sigmoid.wgsl")).text(include_str!("silu.wgsl")),
        }
    }
}

/// What the tanh form takes the sigmoid of, and its derivative.
#[inline(always)]
fn cubic<S: Simd>(s: S, x: S::F) -> [S::F; 2] {
    let t = s.splat(-FAR).max(s.splat(FAR).min(x));
    let square = t * t;
    let v = t * square.mul_add(s.splat(THIRD), s.splat(FIRST));
    [v, square.mul_add(s.splat(3.0 * THIRD), s.splat(FIRST))]
}

/// `σ(v) = 1 / (1 + e^-v)` and its derivative, of an exponential that is at most 1.
#[inline(always)]
fn sigmoid<S: Simd>(s: S, v: S::F) -> [S::F; 2] {
    let e = exp(s, s.splat(0.0) - v.abs());
    let high = reciprocal(s, s.splat(1.0) + e);
    let low = e * high;
    [v.if_less(s.splat(0.0), low, high), low * high]
}

/// `1 / x`.
#[inline(always)]
fn reciprocal<S: Simd>(s: S, x: S::F) -> S::F {
    let mut lanes = [1.0f32; 16];
    // SAFETY: a vector has at most 16 lanes.
    unsafe {
        s.store(lanes.as_mut_ptr(), x);
        for lane in &mut lanes[..S::LANES] {
            *lane = 1.0 / *lane;
        }
        s.load(lanes.as_ptr())
    }
}
