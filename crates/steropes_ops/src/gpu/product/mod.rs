//! The product that linear layers and convolutions are: rows that a source supplies, times packed weights, with an epilogue.

mod few_rows;
mod integers;
mod pack;
mod plan;
mod unrolled;

pub(crate) use integers::Integers;
pub(crate) use pack::{Axis, Layout, ProductWeights};
pub(crate) use plan::{MatrixTile, PlainTile, Plan};

use crate::cpu::Activation;
use crate::error::OpError;
use crate::gpu::{bind, element_window, unsupported};
use integers::Held;
use pack::PANEL;
use plan::Extents;
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, DType, Gpu, Header, Kernel, KernelCache, Tensor, spread};

/// `y[m, n] = activation(Σ rows[m, k] weights[n, k] + bias[n]) + residual[m, n]`.
pub(crate) struct Product<'a> {
    pub(crate) op: &'static str,
    pub(crate) source: Source<'a>,
    pub(crate) weights: &'a ProductWeights,
    pub(crate) activation: Activation,
    pub(crate) residual: Residual<'a>,
    pub(crate) target: Target,
}

/// The left rows.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The rows of a matrix.
    Rows(&'a Tensor),
    /// The patches of images `[batch, height, width, channels]`.
    Patches(Patches<'a>),
}

/// The patches under a square kernel, a row for every pixel of the result.
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a> {
    pub(crate) x: &'a Tensor,
    /// Height and width of the result.
    pub(crate) out: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// Whether the image is replaced by `max(x, 0)`.
    pub(crate) relu: bool,
}

/// What is added to the product.
#[derive(Clone, Copy)]
pub(crate) enum Residual<'a> {
    /// Nothing.
    Nothing,
    /// What the result holds before.
    Result,
    /// A tensor of as many elements.
    Tensor(&'a Tensor),
}

/// How the results lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Row-major.
    Rows,
    /// Each row becomes a square block of pixels; `columns` rows make a line of blocks, `run` elements a line of a block.
    Blocks {
        /// Blocks side by side.
        columns: usize,
        /// Elements in a line of a block.
        run: usize,
    },
}

/// The rows of one launch, and what of the tensors they need.
struct Slice {
    rows: Range<usize>,
    x: Range<usize>,
    /// Lines of pixels before the binding of x and before the first row.
    lines: [usize; 2],
}

impl Patches<'_> {
    fn extents(&self) -> [usize; 4] {
        let &[batch, height, width, channels] = self.x.shape() else {
            unreachable!("the rank was checked");
        };
        [batch, height, width, channels]
    }

    /// Taps in one segment of a patch: a whole row of the kernel where no tap can fall outside the image.
    fn run(&self) -> usize {
        if self.padding == 0 { self.kernel } else { 1 }
    }

    /// Whether every four elements that begin at a multiple of four lie in one segment and at a multiple of four in memory.
    fn is_aligned(&self) -> bool {
        let [_, _, width, channels] = self.extents();
        channels.is_multiple_of(4)
            || [self.run() * channels, self.stride * channels, width * channels]
                .iter()
                .all(|n| n.is_multiple_of(4))
                && self.padding == 0
    }
}

impl Source<'_> {
    fn x(&self) -> &Tensor {
        match self {
            Self::Rows(x) => x,
            Self::Patches(patches) => patches.x,
        }
    }
}

impl Product<'_> {
    /// Fills `y`, whose rows are those of the source and whose dtype is that of all tensors but the bias.
    ///
    /// # Errors
    /// [`OpError`] if the device failed or a single row does not fit its bindings.
    pub(crate) fn launch(&self, gpu: &Gpu, y: &Tensor) -> Result<(), OpError> {
        let columns = self.weights.outputs();
        let most_bytes = gpu.capabilities().max_binding_bytes;
        if self.is_of_few_rows(most_bytes, y) {
            return self.launch_few_rows(gpu, most_bytes, y);
        }
        let extents = Extents {
            rows: y.len() / columns.max(1),
            columns,
            depth: self.weights.padded,
            patches: matches!(self.source, Source::Patches(_)),
            dtype: y.dtype(),
        };
        self.launch_as(gpu, Plan::choose(gpu.capabilities(), &extents), most_bytes, y)
    }

    /// [`Product::launch`] by this plan, with bindings of at most `max_bytes` bytes.
    pub(crate) fn launch_as(&self, gpu: &Gpu, plan: Plan, max_bytes: u64, y: &Tensor) -> Result<(), OpError> {
        if y.is_empty() {
            return Ok(());
        }
        // A window begins up to one alignment before what is meant.
        let most = (max_bytes - Capabilities::BINDING_ALIGNMENT) as usize;
        let slices = self.slices(most / y.dtype().size_bytes(), y).ok_or_else(|| {
            let why = "a single row of its tensors does not fit one of its bindings".to_owned();
            unsupported(self.op, gpu, why)
        })?;
        let kernel = self.kernel(plan, y);
        for slice in &slices {
            for columns in self.column_ranges(gpu, max_bytes)? {
                self.launch_slice(gpu, &kernel, plan, slice, columns, y)?;
            }
        }
        Ok(())
    }

    /// Columns whose weights fit a binding of `max_bytes` bytes.
    fn column_ranges(&self, gpu: &Gpu, max_bytes: u64) -> Result<Vec<Range<usize>>, OpError> {
        let most = (max_bytes - Capabilities::BINDING_ALIGNMENT) as usize;
        self.weights.column_ranges(most).ok_or_else(|| {
            let why = "64 columns of its weights do not fit one of its bindings".to_owned();
            unsupported(self.op, gpu, why)
        })
    }

    /// Rows whose parts of every tensor have at most `most` elements; `None` where there is no such split.
    fn slices(&self, most: usize, y: &Tensor) -> Option<Vec<Slice>> {
        let columns = self.weights.outputs();
        let rows = y.len() / columns;
        let patches = match self.source {
            Source::Rows(x) => {
                let depth = self.weights.depth;
                let unit = match self.target {
                    Target::Rows => 1,
                    Target::Blocks { columns, .. } => columns,
                };
                let step = most / depth.max(columns) / unit * unit;
                let step = if x.len().max(y.len()) <= most { rows } else { step };
                let slice = |first: usize| {
                    let rows = first..(first + step).min(rows);
                    Slice { x: rows.start * depth..rows.end * depth, rows, lines: [0, 0] }
                };
                return (step > 0).then(|| (0..rows).step_by(step).map(slice).collect());
            }
            Source::Patches(patches) => patches,
        };
        let [batch, height, width, channels] = patches.extents();
        let [out_height, out_width] = patches.out;
        let (image, result) = (height * width * channels, out_height * out_width);
        let images = (most / image).min(most / (result * columns)).min(batch);
        if images > 0 {
            let slice = |first: usize| {
                let images = first..(first + images).min(batch);
                let rows = images.start * result..images.end * result;
                Slice { rows, x: images.start * image..images.end * image, lines: [0, 0] }
            };
            return Some((0..batch).step_by(images).map(slice).collect());
        }
        // Lines of one image: the kernel's rows and `stride` more for each further line of the result.
        let taken = (most / (width * channels)).checked_sub(patches.kernel)? / patches.stride + 1;
        let lines = taken.min(most / (out_width * columns));
        let slice = |image: usize, first: usize| {
            let last = (first + lines).min(out_height);
            let top = (first * patches.stride).saturating_sub(patches.padding);
            let end = ((last - 1) * patches.stride + patches.kernel).saturating_sub(patches.padding);
            let x = [top, end.min(height)].map(|line| (image * height + line) * width * channels);
            let rows = [first, last].map(|line| (image * out_height + line) * out_width);
            Slice { rows: rows[0]..rows[1], x: x[0]..x[1].max(x[0]), lines: [top, first] }
        };
        let slices = |image| (0..out_height).step_by(lines).map(move |first| slice(image, first));
        (lines > 0).then(|| (0..batch).flat_map(slices).collect())
    }

    fn launch_slice(
        &self,
        gpu: &Gpu,
        kernel: &Kernel,
        plan: Plan,
        slice: &Slice,
        some: Range<usize>,
        y: &Tensor,
    ) -> Result<(), OpError> {
        let (x, x_shift) = element_window(self.source.x(), slice.x.start, slice.x.len());
        let (results, y_shift) = self.results(slice, y);
        let bindings = [vec![x, self.weights.columns(&some)], results].concat();
        let params = self.params(slice, &some, [x_shift, y_shift]);
        let groups = spread(plan::tiles(slice.rows.len(), some.len(), plan.tile()) as u64);
        Ok(gpu.launch(kernel, &bindings, &params, groups)?)
    }

    /// What the epilogue needs: bias, result and residual, and the elements before the first result.
    fn results<'b>(&'b self, slice: &Slice, y: &'b Tensor) -> (Vec<Binding<'b>>, usize) {
        let columns = self.weights.outputs();
        let results = slice.rows.start * columns..slice.rows.end * columns;
        let (result, y_shift) = element_window(y, results.start, results.len());
        let mut bindings = vec![bind(&self.weights.bias), result];
        if let Residual::Tensor(residual) = self.residual {
            bindings.push(element_window(residual, results.start, results.len()).0);
        }
        (bindings, y_shift)
    }

    fn params(&self, slice: &Slice, some: &Range<usize>, [x_shift, y_shift]: [usize; 2]) -> Vec<u32> {
        let (columns, padded) = (self.weights.outputs(), self.weights.padded);
        let mut params = vec![slice.rows.len(), some.len(), some.start, columns, self.weights.depth, padded];
        params.extend([x_shift, y_shift]);
        params.extend(match self.source {
            Source::Rows(_) => [0; 11],
            Source::Patches(p) => {
                let [_, height, width, channels] = p.extents();
                let [out_height, out_width] = p.out;
                let (segment, across) = (p.run() * channels, p.kernel / p.run());
                let [top, out_top] = slice.lines;
                [
                    height, width, channels, out_height, out_width, p.stride, p.padding, segment, across,
                    top, out_top,
                ]
            }
        });
        params.extend(match self.target {
            Target::Rows => [0; 2],
            Target::Blocks { columns, run } => [columns, run],
        });
        params.into_iter().map(|word| word as u32).collect()
    }

    fn kernel(&self, plan: Plan, y: &Tensor) -> Kernel {
        static KERNELS: KernelCache<Form> = KernelCache::new();
        let form = self.form(plan, y);
        KERNELS.get(form, || form.kernel())
    }

    fn form(&self, plan: Plan, y: &Tensor) -> Form {
        let depth = self.weights.depth;
        let rows = match self.source {
            Source::Rows(_) => {
                RowsForm::Matrix { vectors: depth.is_multiple_of(4), padded: depth < self.weights.padded }
            }
            Source::Patches(p) => RowsForm::Patches {
                relu: p.relu,
                one_tap: (p.run() * p.extents()[3]).is_multiple_of(plan.depth() as usize),
                vectors: p.is_aligned(),
            },
        };
        let (run, blocks) = match self.target {
            Target::Rows => (self.weights.outputs(), false),
            Target::Blocks { run, .. } => (run, true),
        };
        let residual = match self.residual {
            Residual::Nothing => ResidualForm::Nothing,
            Residual::Result => ResidualForm::Result,
            Residual::Tensor(_) => ResidualForm::Tensor,
        };
        let vectors = run.is_multiple_of(4);
        let (dtype, held) = (y.dtype(), self.weights.held);
        Form { plan, dtype, held, rows, activation: self.activation, residual, blocks, vectors }
    }
}

/// All that the text of a kernel depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    plan: Plan,
    dtype: DType,
    held: Held,
    rows: RowsForm,
    activation: Activation,
    residual: ResidualForm,
    /// Whether results are placed in blocks.
    blocks: bool,
    /// Whether results are placed by vectors of four.
    vectors: bool,
}

/// How the left rows are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum RowsForm {
    Matrix { vectors: bool, padded: bool },
    Patches { relu: bool, one_tap: bool, vectors: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ResidualForm {
    Nothing,
    Result,
    Tensor,
}

impl Form {
    fn kernel(self) -> Kernel {
        let header = Header::new().element(self.dtype).text(include_str!("params.wgsl"));
        let header = header
            .count("TILE_ROWS", self.plan.tile()[0])
            .count("TILE_COLUMNS", self.plan.tile()[1])
            .count("TILE_DEPTH", self.plan.depth())
            .count("PANEL", PANEL as u32)
            .text(include_str!("relu.wgsl"));
        let header = self.weights_header(self.rows_header(header)).text(include_str!("weights.wgsl"));
        let header = self.epilogue_header(header, 2);
        match self.plan {
            Plan::Plain(tile) => {
                Kernel::new("product", &unrolled::plain(header, tile), include_str!("product_plain.wgsl"))
            }
            Plan::Matrix(tile) => {
                let header = unrolled::matrix(header, tile, self.dtype);
                Kernel::new("product", &header, include_str!("product_matrix.wgsl"))
            }
        }
    }

    fn rows_header(self, header: Header) -> Header {
        match self.rows {
            RowsForm::Matrix { vectors, padded } => header
                .flag("DEPTH_PADDED", padded)
                .text(if vectors {
                    include_str!("rows_vectors.wgsl")
                } else {
                    include_str!("rows_scalars.wgsl")
                })
                .text(include_str!("rows.wgsl")),
            RowsForm::Patches { relu, one_tap, vectors } => header
                .flag("RELU_INPUT", relu)
                .flag("ONE_TAP", one_tap)
                .text(include_str!("patches.wgsl"))
                .text(if vectors {
                    include_str!("patches_vectors.wgsl")
                } else {
                    include_str!("patches_scalars.wgsl")
                }),
        }
    }

    fn weights_header(self, header: Header) -> Header {
        // Plain multiply-adds are f32, so integers are not rounded to f16 before.
        let four = if matches!(self.plan, Plan::Plain(_)) { "vec4<f32>" } else { "Elem4" };
        match self.held {
            Held::Values => header.text(include_str!("values.wgsl")),
            held => held.header(header.alias("Weight4", four)),
        }
    }

    /// The epilogue, whose bindings are those from `first` on.
    fn epilogue_header(self, header: Header, first: u32) -> Header {
        let header = header
            .text(match self.activation {
                Activation::Identity => "fn activated(v: vec4<f32>) -> vec4<f32> { return v; }\n",
                Activation::Relu => "fn activated(v: vec4<f32>) -> vec4<f32> { return relu(v); }\n",
                Activation::Gelu => concat!(
                    include_str!("gelu.wgsl"),
                    "fn activated(v: vec4<f32>) -> vec4<f32> { return gelu(v); }\n"
                ),
            })
            .text(if self.blocks {
                include_str!("place_blocks.wgsl")
            } else {
                include_str!("place_rows.wgsl")
            })
            .alias("Result", if self.vectors { "vec4<f32>" } else { "f32" });
        let header = match self.residual {
            ResidualForm::Nothing => header.text("fn residual_at(at: u32) -> Result { return Result(); }\n"),
            ResidualForm::Result => {
                header.text("fn residual_at(at: u32) -> Result { return Result(y[at]); }\n")
            }
            ResidualForm::Tensor => {
                header.alias("Residual", if self.vectors { "Elem4" } else { "Elem" }).text(&format!(
                    "@group(0) @binding({}) var<storage, read> residual: array<Residual>;\n\
                     fn residual_at(at: u32) -> Result {{ return Result(residual[at]); }}\n",
                    first + 2
                ))
            }
        };
        let [bias, y] = if self.vectors { ["vec4<f32>", "Elem4"] } else { ["f32", "Elem"] };
        let header = header.text(&format!(
            "@group(0) @binding({first}) var<storage, read> bias: array<{bias}>;\n\
             @group(0) @binding({}) var<storage, read_write> y: array<{y}>;\n",
            first + 1
        ));
        header.text(if self.vectors {
            include_str!("finish_vectors.wgsl")
        } else {
            include_str!("finish_scalars.wgsl")
        })
    }
}

pub(crate) fn cases() -> Vec<steropes_testkit::Case> {
    plan::tests::cases()
}
