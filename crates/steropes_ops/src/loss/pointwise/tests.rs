//! What the cases of these losses share.

use crate::error::OpError;
use crate::loss::Reduction;
use crate::loss::tests_support::differences;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Tolerance, Verdict, check_close, check_equal, f16_tensor, floats};

/// A loss of two tensors.
type Forward<'a> = dyn Fn(&Tensor, &Tensor, Reduction) -> Result<Tensor, OpError> + 'a;

/// Its gradients, from that of the loss.
type Backward<'a> = dyn Fn(&Tensor, &Tensor, &Tensor, Reduction) -> Result<[Tensor; 2], OpError> + 'a;

/// The losses of all pairs of two rows.
type Losses<'a> = dyn Fn(&[f64], &[f64]) -> Vec<f64> + 'a;

/// A loss, its backward and its oracle.
pub(in crate::loss) struct Subject<'a> {
    pub(in crate::loss) forward: &'a Forward<'a>,
    pub(in crate::loss) backward: &'a Backward<'a>,
    /// The losses of all pairs.
    pub(in crate::loss) losses: &'a Losses<'a>,
    /// Their derivatives.
    pub(in crate::loss) slopes: &'a dyn Fn(f64, f64) -> [f64; 2],
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Log-probabilities of rows of `width` values.
pub(in crate::loss) fn log_probabilities(name: &str, count: usize, width: usize) -> Vec<f32> {
    let mut x = normal(name, count);
    for row in x.chunks_mut(width.max(1)) {
        let sum: f64 = row.iter().map(|&v| f64::from(v).exp()).sum();
        row.iter_mut().for_each(|v| *v -= sum.ln() as f32);
    }
    x
}

impl Subject<'_> {
    /// All reductions and their gradients, on values of any kind.
    pub(in crate::loss) fn check(&self, device: &Device, shape: &[usize], a: &[f32], b: &[f32]) -> Verdict {
        let tensor = |values: &[f32]| Tensor::new(device, shape, values.to_vec()).map_err(text);
        self.check_tensors([&tensor(a)?, &tensor(b)?], [a, b], false)
    }

    /// The same in f16.
    pub(in crate::loss) fn check_f16(
        &self,
        device: &Device,
        shape: &[usize],
        a: &[f32],
        b: &[f32],
    ) -> Verdict {
        let [(a, a_held), (b, b_held)] = [a, b].map(|values| f16_tensor(device, shape, values));
        self.check_tensors([&a, &b], [&a_held, &b_held], true)
    }

    fn check_tensors(&self, [a, b]: [&Tensor; 2], held: [&[f32]; 2], f16: bool) -> Verdict {
        let device = a.device();
        let [a64, b64] = held.map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>());
        let losses = (self.losses)(&a64, &b64);
        let sum: f64 = losses.iter().sum();
        let sizes: f64 = losses.iter().map(|l| l.abs()).sum();
        for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::BatchMean] {
            let (want, factor) = match reduction {
                Reduction::None => (losses.clone(), 1.0),
                Reduction::Sum => (vec![sum], 1.0),
                Reduction::Mean => (vec![sum / a.len() as f64], 1.0 / a.len() as f64),
                Reduction::BatchMean => (vec![sum / a.shape()[0] as f64], 1.0 / a.shape()[0] as f64),
            };
            let y = (self.forward)(a, b, reduction).map_err(text)?;
            check_equal(y.shape(), if reduction == Reduction::None { a.shape() } else { &[] })?;
            let tolerance = match reduction {
                Reduction::None => Tolerance::OfLargest(2e-6),
                _ => Tolerance::Absolute(2e-6 * factor * sizes),
            };
            check_close(&floats(&y)?, &want, tolerance).map_err(|e| format!("{reduction:?}: {e}"))?;
            let grad = normal("pointwise/grad", want.len());
            let scale = |i: usize| f64::from(grad[i.min(grad.len() - 1)]) * factor;
            let slopes: Vec<[f64; 2]> = a64.iter().zip(&b64).map(|(&a, &b)| (self.slopes)(a, b)).collect();
            let grads = Tensor::new(&device, y.shape(), grad.clone()).map_err(text)?;
            let got = (self.backward)(&grads, a, b, reduction).map_err(text)?;
            for (k, got) in got.iter().enumerate() {
                let want: Vec<f64> = slopes.iter().enumerate().map(|(i, s)| scale(i) * s[k]).collect();
                check_equal(got.shape(), a.shape())?;
                check_equal(&[got.dtype()], &[a.dtype()])?;
                check_close(&floats(got)?, &want, Tolerance::OfLargest(if f16 { 5e-4 } else { 3e-6 }))
                    .map_err(|e| format!("gradient {k}, {reduction:?}: {e}"))?;
            }
        }
        Ok(())
    }

    /// The slopes of the oracle against differences of its losses.
    pub(in crate::loss) fn check_slopes(&self, a: &[f64], b: &[f64]) -> Verdict {
        let by_a = differences(a, 1e-5, |a| (self.losses)(a, b).iter().sum());
        let by_b = differences(b, 1e-5, |b| (self.losses)(a, b).iter().sum());
        for i in 0..a.len() {
            let [slope_a, slope_b] = (self.slopes)(a[i], b[i]);
            let got = [slope_a as f32, slope_b as f32];
            check_close(&got, &[by_a[i], by_b[i]], Tolerance::OfLargest(1e-6))?;
        }
        Ok(())
    }

    /// Empty tensors: no losses, a sum of 0, means that are not numbers.
    pub(in crate::loss) fn check_empty(&self, device: &Device) -> Verdict {
        let x = Tensor::zeros::<f32>(device, &[0, 3]);
        let of = |reduction| floats(&(self.forward)(&x, &x, reduction).map_err(text)?);
        check_equal(&of(Reduction::None)?, &[])?;
        check_equal(&of(Reduction::Sum)?, &[0.0])?;
        check_equal(&[of(Reduction::Mean)?[0].is_nan(), of(Reduction::BatchMean)?[0].is_nan()], &[true; 2])?;
        let grad = Tensor::zeros::<f32>(device, &[]);
        check_equal((self.backward)(&grad, &x, &x, Reduction::Sum).map_err(text)?[1].shape(), &[0, 3])
    }
}
