//! Launches.

use super::{OP, PointNorm, PointView, Regr3dOptions};
use crate::error::OpError;
use crate::gpu::{bind, group_header, mask_header, one_binding};
use steropes_tensor::{Binding, DType, Gpu, Header, Kernel, Tensor, spread};

pub(super) fn regr3d(
    gpu: &Gpu,
    views: &[PointView<'_>; 2],
    metric: Option<&Tensor>,
    items: usize,
    options: &Regr3dOptions,
) -> Result<[Tensor; 2], OpError> {
    let scales = scales(gpu, views, metric, items, options)?;
    let losses = |view: &PointView<'_>| -> Result<Tensor, OpError> {
        let losses = Tensor::on_gpu(gpu, OP, DType::F32, view.valid.shape())?;
        let sky = match view.sky {
            Some(_) => {
                let binding = "@group(0) @binding(5) var<storage, read> sky: array<u32>;\n";
                mask_header(Header::new().text(binding), "sky")
            }
            None => Header::new().text("fn sky_at(i: u32) -> bool { return false; }\n"),
        };
        let kernel = Kernel::new("regr3d", &header(sky, view, options), include_str!("losses.wgsl"));
        let mut bindings = of_view(view).to_vec();
        bindings.extend([bind(&scales), bind(&losses)]);
        bindings.extend(view.sky.map(bind));
        let params = params(view, items, options.sky_loss.to_bits());
        gpu.launch(&kernel, &bindings, &params, spread(losses.len().div_ceil(256) as u64))?;
        Ok(losses)
    };
    Ok([losses(&views[0])?, losses(&views[1])?])
}

pub(super) fn regr3d_backward(
    gpu: &Gpu,
    grads: [&Tensor; 2],
    views: &[PointView<'_>; 2],
    metric: Option<&Tensor>,
    items: usize,
    options: &Regr3dOptions,
) -> Result<[Tensor; 2], OpError> {
    let scales = scales(gpu, views, metric, items, options)?;
    let worth = Tensor::on_gpu(gpu, OP, DType::F32, &[items])?;
    for (k, (view, grad)) in views.iter().zip(grads).enumerate() {
        let header = group_header(header(Header::new(), view, options)).flag("FIRST", k == 0);
        let kernel = Kernel::new("regr3d_worth", &header, include_str!("worth.wgsl"));
        let mut bindings = of_view(view).to_vec();
        bindings.extend([bind(&scales), bind(grad), bind(&worth)]);
        gpu.launch(&kernel, &bindings, &params(view, items, 0), spread(items as u64))?;
    }
    let gradient = |k: usize| -> Result<Tensor, OpError> {
        let view = &views[k];
        let gradient = Tensor::on_gpu(gpu, OP, view.prediction.dtype(), view.prediction.shape())?;
        let kernel = Kernel::new(
            "regr3d_backward",
            &header(Header::new(), view, options),
            include_str!("backward.wgsl"),
        );
        let mut bindings = of_view(view).to_vec();
        bindings.extend([bind(&scales), bind(grads[k]), bind(&worth), bind(&gradient)]);
        let groups = spread(view.valid.len().div_ceil(256) as u64);
        gpu.launch(&kernel, &bindings, &params(view, items, 0), groups)?;
        Ok(gradient)
    };
    Ok([gradient(0)?, gradient(1)?])
}

/// For each item what its points are divided by, and the derivative of that: `[items, 4]`.
fn scales(
    gpu: &Gpu,
    views: &[PointView<'_>; 2],
    metric: Option<&Tensor>,
    items: usize,
    options: &Regr3dOptions,
) -> Result<Tensor, OpError> {
    for view in views {
        one_binding(OP, gpu, &[view.prediction, view.truth])?;
    }
    let sums = Tensor::on_gpu(gpu, OP, DType::F32, &[items, 4])?;
    for (k, view) in views.iter().enumerate() {
        let header = group_header(header(Header::new(), view, options)).flag("FIRST", k == 0);
        let kernel = Kernel::new("regr3d_norms", &header, include_str!("norms.wgsl"));
        let mut bindings = of_view(view).to_vec();
        bindings.push(bind(&sums));
        gpu.launch(&kernel, &bindings, &params(view, items, 0), spread(items as u64))?;
    }
    let scales = Tensor::on_gpu(gpu, OP, DType::F32, &[items, 4])?;
    let is_metric = match metric {
        Some(_) => {
            let binding = "@group(0) @binding(2) var<storage, read> metric: array<u32>;\n";
            mask_header(Header::new().text(binding), "metric")
        }
        None => Header::new().text("fn metric_at(i: u32) -> bool { return false; }\n"),
    };
    let header = is_metric
        .flag("NORMS", options.norm != PointNorm::None)
        .flag("TRUTH_AS_IT_IS", options.truth_as_it_is);
    let kernel = Kernel::new("regr3d_scales", &header, include_str!("scales.wgsl"));
    let mut bindings = vec![bind(&sums), bind(&scales)];
    bindings.extend(metric.map(bind));
    gpu.launch(&kernel, &bindings, &[items as u32], spread(items.div_ceil(64) as u64))?;
    Ok(scales)
}

fn of_view<'a>(view: &PointView<'a>) -> [Binding<'a>; 3] {
    [bind(view.prediction), bind(view.truth), bind(view.valid)]
}

fn params(view: &PointView<'_>, items: usize, last: u32) -> [u32; 3] {
    [items as u32, (view.valid.len() / items.max(1)) as u32, last]
}

fn header(header: Header, view: &PointView<'_>, options: &Regr3dOptions) -> Header {
    mask_header(header.element(view.prediction.dtype()), "valid")
        .flag("LOG", options.log)
        .flag("LOG_NORM", options.norm == PointNorm::AvgLog1p)
        .text(include_str!("point.wgsl"))
}
