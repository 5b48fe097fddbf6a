//! Losses.

use crate::tape::filled;
use crate::{Tape, TapeError, Var};
use steropes_ops::OpError;
use steropes_ops::elementwise::arithmetic::{mul, scale, sub};
use steropes_ops::loss::conf_loss::{conf_loss, conf_loss_backward};
use steropes_ops::loss::conf_matching_loss::{
    ConfMatchingOptions, conf_matching_loss, conf_matching_loss_backward,
};
use steropes_ops::loss::cross_entropy::{CrossEntropyOptions, cross_entropy, cross_entropy_backward};
use steropes_ops::loss::info_nce::{InfoNceOptions, info_nce, info_nce_backward};
use steropes_ops::vision::pointmap::{ConfidenceMode, confidence};
use steropes_tensor::Tensor;

impl Tape {
    /// Cross entropy of `logits` `[rows, classes]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn cross_entropy(
        &self,
        logits: &Var,
        targets: &Tensor,
        options: &CrossEntropyOptions,
    ) -> Result<Var, TapeError> {
        let value = cross_entropy(logits.value(), targets, options)?;
        let (input, targets, options) = (logits.value().clone(), targets.clone(), *options);
        self.first_order_step("cross_entropy", value, &[logits], move |gradient| {
            Ok(vec![Some(cross_entropy_backward(gradient, &input, &targets, &options)?)])
        })
    }

    /// The contrastive loss of each correspondence of two sets of descriptors `[items, rows, width]`: `[items, rows]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn info_nce(
        &self,
        descriptors: [&Var; 2],
        valid: &Tensor,
        options: &InfoNceOptions,
    ) -> Result<Var, TapeError> {
        let inputs = descriptors.map(|var| var.value().clone());
        let (valid, options) = (valid.clone(), *options);
        let value = info_nce([&inputs[0], &inputs[1]], &valid, &options)?;
        self.first_order_step("info_nce", value, &descriptors, move |gradient| {
            let parts = info_nce_backward(gradient, [&inputs[0], &inputs[1]], &valid, &options)?;
            Ok(parts.into_iter().map(Some).collect())
        })
    }

    /// The mean of `c loss - alpha log c` where `mask` is not 0: `[]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn conf_loss(
        &self,
        loss: &Var,
        confidence: &Var,
        mask: &Tensor,
        alpha: f32,
    ) -> Result<Var, TapeError> {
        let value = conf_loss(loss.value(), confidence.value(), mask, alpha)?;
        let (of, by, mask) = (loss.value().clone(), confidence.value().clone(), mask.clone());
        self.first_order_step("conf_loss", value, &[loss, confidence], move |gradient| {
            let parts = conf_loss_backward(gradient, &of, &by, &mask, alpha)?;
            Ok(parts.into_iter().map(Some).collect())
        })
    }

    /// The mean over matches of `q loss - alpha log q`, `q` being the confidence of both descriptors: `[]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn conf_matching_loss(
        &self,
        loss: &Var,
        confidences: [&Var; 2],
        valid: &Tensor,
        options: &ConfMatchingOptions,
    ) -> Result<Var, TapeError> {
        let [first, second] = confidences;
        let value = conf_matching_loss(loss.value(), confidences.map(Var::value), valid, options)?;
        let inputs = [loss, first, second].map(|var| var.value().clone());
        let (valid, options) = (valid.clone(), *options);
        self.first_order_step("conf_matching_loss", value, &[loss, first, second], move |gradient| {
            let [loss, first, second] = &inputs;
            let parts = conf_matching_loss_backward(gradient, loss, [first, second], &valid, &options)?;
            Ok(parts.into_iter().map(Some).collect())
        })
    }

    /// The confidence of each raw number.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them, or if `mode` is an exponential with an upper bound: its gradient is not written.
    pub fn confidence(&self, raw: &Var, mode: ConfidenceMode) -> Result<Var, TapeError> {
        if let ConfidenceMode::Exp { max, .. } = mode
            && max.is_finite()
        {
            let problem = OpError::value("confidence", "mode", "an exponential without an upper bound", max);
            return Err(problem.into());
        }
        let value = confidence(raw.value(), mode)?;
        let result = value.clone();
        self.first_order_step("confidence", value, &[raw], move |gradient| {
            let number = |value: f32| filled(&result, result.shape(), value.into());
            let slope = match mode {
                ConfidenceMode::Exp { min, .. } => sub(result.clone(), &number(min)?)?,
                ConfidenceMode::Sigmoid { min, max } => {
                    let [above, below] = [sub(result.clone(), &number(min)?)?, sub(number(max)?, &result)?];
                    scale(mul(above, &below)?, 1.0 / f64::from(max - min))?
                }
            };
            Ok(vec![Some(mul(gradient.clone(), &slope)?)])
        })
    }
}
