//! Stacks of matrices in the memory of a GPU: copies with repeated matrices, and strided products.
//!
//! Offsets and strides are 32-bit words that wrap around, so that views that run backwards are as good as others.

use super::View;
use crate::error::OpError;
use crate::gpu::{bind, largest_binding, unsupported};
use crate::linalg::stack::Broadcast;
use steropes_tensor::{DType, Device, Gpu, Header, Kernel, Tensor, TensorError, spread};

/// Invocations of a workgroup of kernels over elements.
const THREADS: u32 = 256;

/// Rows and columns of a tile of a product.
const TILE: usize = 64;

/// A stack of matrices in a tensor.
#[derive(Clone, Copy)]
pub(crate) struct Matrices<'a> {
    /// Their memory.
    pub(crate) tensor: &'a Tensor,
    /// The first of them.
    pub(crate) view: View,
    /// From a matrix to the next; 0 if all are the same.
    pub(crate) step: usize,
}

impl<'a> Matrices<'a> {
    /// Row-major matrices `[rows, columns]` one after another, or one that is used for all.
    pub(crate) fn of(tensor: &'a Tensor, [rows, columns]: [usize; 2]) -> Self {
        let step = if tensor.len() == rows * columns { 0 } else { rows * columns };
        Self { tensor, view: View::of_columns(columns), step }
    }

    /// The same memory in another view.
    pub(crate) fn seen(self, view: View) -> Self {
        Self { view, ..self }
    }

    /// The transposed matrices.
    pub(crate) fn transposed(self) -> Self {
        self.seen(self.view.transposed())
    }

    /// The words that kernels have for it: start, row, column, step.
    pub(crate) fn words(self) -> [u32; 4] {
        [
            self.view.start as i32 as u32,
            self.view.row as i32 as u32,
            self.view.column as i32 as u32,
            self.step as u32,
        ]
    }
}

/// Refuses stacks of so many 32-bit elements that a kernel cannot see them at once.
///
/// # Errors
/// [`OpError::Unsupported`].
pub(crate) fn check_lengths(op: &'static str, gpu: &Gpu, lengths: &[usize]) -> Result<(), OpError> {
    let (longest, most) = (lengths.iter().max().map_or(0, |len| len * 4), largest_binding(gpu));
    if longest <= most {
        return Ok(());
    }
    Err(unsupported(op, gpu, format!("a stack of {longest} bytes does not fit one binding of {most} bytes")))
}

/// A tensor on a GPU from values of the host.
pub(crate) fn upload(gpu: &Gpu, values: Vec<u32>) -> Result<Tensor, OpError> {
    let len = values.len();
    match Tensor::new(&Device::Gpu(gpu.clone()), &[len], values) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(error.into()),
        Err(error) => unreachable!("a list has its own length: {error}"),
    }
}

/// A kernel over elements: header with `THREADS` and `element(group, thread)`, the number of the element.
pub(crate) fn over_elements(name: &'static str, header: Header, body: &str) -> Kernel {
    let header = header.count("THREADS", THREADS).text(
        "fn element(group: vec3<u32>, thread: u32) -> u32 {\n    \
         return (group.x + group.y * 32768u) * THREADS + thread;\n}\n",
    );
    Kernel::new(name, &header, body)
}

/// Workgroups of a kernel of [`over_elements`].
pub(crate) fn groups_of(elements: usize) -> [u32; 3] {
    spread(elements.div_ceil(THREADS as usize) as u64)
}

/// Which side of a [`Broadcast`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// The matrices of `each` elements of `tensor`, repeated as the common batch asks; a new tensor of `shape`.
pub(crate) fn copied(
    op: &'static str,
    gpu: &Gpu,
    tensor: &Tensor,
    each: usize,
    (both, side): (&Broadcast, Side),
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let out = Tensor::on_gpu(gpu, op, tensor.dtype(), shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let count = both.count() * each;
    if tensor.len() != count {
        let sources = (0..both.count()).map(|index| both.sources(index)[side as usize] as u32).collect();
        let sources = upload(gpu, sources)?;
        let kernel = over_elements("matrices_repeated", Header::new(), include_str!("repeated.wgsl"));
        let bindings = [bind(tensor), bind(&sources), bind(&out)];
        gpu.launch(&kernel, &bindings, &[count as u32, each as u32], groups_of(count))?;
    } else {
        let kernel = over_elements("matrices_copied", Header::new(), include_str!("copied.wgsl"));
        gpu.launch(&kernel, &[bind(tensor), bind(&out)], &[count as u32], groups_of(count))?;
    }
    Ok(out)
}

/// `tensor` if its matrices are as many as the common batch or one for all, else a copy with all of them.
pub(crate) fn expanded(
    op: &'static str,
    gpu: &Gpu,
    tensor: &Tensor,
    each: usize,
    (both, side): (&Broadcast, Side),
) -> Result<Tensor, OpError> {
    if tensor.len() == each || tensor.len() == each * both.count() {
        return Ok(tensor.clone());
    }
    copied(op, gpu, tensor, each, (both, side), &[both.count(), each])
}

/// What [`product`] writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Writes {
    /// Whether the product is added to what is there.
    pub(crate) adds: bool,
    /// What the product is multiplied by.
    pub(crate) factor: f32,
    /// Whether only the lower triangle is written.
    pub(crate) lower: bool,
}

impl Writes {
    /// The product is taken off.
    pub(crate) const MINUS: Self = Self { adds: true, factor: -1.0, lower: false };
}

/// `c = factor a b`, or adds that to `c`, for `count` matrices of extents `[m, n, k]`. `a` and `b` may be other parts of the
/// memory of `c`.
pub(crate) fn product(
    gpu: &Gpu,
    c: Matrices<'_>,
    (a, b): (Matrices<'_>, Matrices<'_>),
    writes: Writes,
    count: usize,
    [m, n, k]: [usize; 3],
) -> Result<(), OpError> {
    let (across, down) = (n.div_ceil(TILE), m.div_ceil(TILE));
    let groups = count * across * down;
    let mut bindings = vec![bind(c.tensor)];
    let mut header = Header::new()
        .flag("ADDS", writes.adds)
        .flag("LOWER", writes.lower)
        .number("FACTOR", writes.factor)
        .flag("A_DOWN", a.view.row.abs() == 1)
        .flag("B_ACROSS", b.view.column.abs() == 1);
    for (name, factor) in [("a", a), ("b", b)] {
        header = header.text(&reader(name, &mut bindings, c.tensor, factor.tensor, "c"));
    }
    let kernel = Kernel::new("matrices_product", &header, include_str!("product.wgsl"));
    let mut params = [groups, across, across * down, m, n, k].map(|x| x as u32).to_vec();
    params.extend([c, a, b].into_iter().flat_map(Matrices::words));
    Ok(gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?)
}

/// The text of `{name}_at(i) -> f32`, which reads `tensor` from a binding of its own, or from the array `shared` if it is in the same
/// memory as `written`.
pub(crate) fn reader<'a>(
    name: &str,
    bindings: &mut Vec<steropes_tensor::Binding<'a>>,
    written: &Tensor,
    tensor: &'a Tensor,
    shared: &str,
) -> String {
    if is_same(written, tensor) {
        return format!("fn {name}_at(i: u32) -> f32 {{ return {shared}[i]; }}\n");
    }
    let number = bindings.len();
    bindings.push(bind(tensor));
    format!(
        "@group(0) @binding({number}) var<storage, read> {name}: array<f32>;\n\
         fn {name}_at(i: u32) -> f32 {{ return {name}[i]; }}\n"
    )
}

/// Whether two tensors are one: callers that compute in place hand in the same reference twice.
fn is_same(a: &Tensor, b: &Tensor) -> bool {
    std::ptr::eq(a, b)
}

/// The element type that all kernels here compute with.
pub(crate) const F32: DType = DType::F32;
