//! Memory, pipeline choice and launches.

use super::pack::{CHUNK, Drawn, Edge, Packing, Part, Unit, incidence, topology};
use super::{
    IMAGE_PARAMETERS, LoopImage, LoopOptions, LoopParameters, LoopProblem, LoopScene, LoopStage, OP,
};
use crate::error::OpError;
use crate::geometry::sparse_alignment::PinholeView;
use bytemuck::Pod;
use steropes_tensor::{Binding, Capabilities, Gpu, Header, Kernel, Memory, spread};

/// Sums of a unit.
const SUMS: u32 = 17;
/// Derivatives by one camera.
const BY_VIEW: u32 = 17;
/// Numbers of an edge in `by_edges`.
const EDGE: u32 = 2 * BY_VIEW + 1;
/// Numbers of a camera in `views`, see `view.wgsl`.
const VIEW: usize = 20;
/// Numbers of an image in `images`, and where they lie, see `image.wgsl`.
const IMAGE: usize = 92;
const GRADIENT: usize = 11;
const CONSTANTS: usize = 44;
/// Which parameter is kept relative to its prior on the device, so that f32 resolves it.
const LOG_FOCAL: usize = 8;

const DECAY: f64 = 0.9;
const EPSILON: f32 = 1e-8;

/// One step of Adam.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    rate: f32,
    root: f32,
}

impl Step {
    /// Step `iteration` of `iterations`, with the bias corrections.
    pub(super) fn new(iteration: usize, iterations: usize, learning_rate: f64) -> Self {
        let progress = iteration as f64 / iterations as f64;
        let rate = learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        let correction = 1.0 - DECAY.powf((iteration + 1) as f64);
        Self { rate: (rate / correction) as f32, root: (1.0 / correction.sqrt()) as f32 }
    }
}

/// The kernels of a device.
struct Kernels {
    forward: Kernel,
    coarse: Kernel,
    fine: Kernel,
    fallback: Kernel,
    edges: Kernel,
    views: Kernel,
    depths: Kernel,
    backward: Kernel,
}

/// Invocations of a workgroup.
fn threads(gpu: &Capabilities) -> Result<u32, OpError> {
    [256, 128].into_iter().find(|&t| t <= gpu.workgroup_threads).ok_or_else(|| {
        let why = format!("its workgroups have only {} invocations", gpu.workgroup_threads);
        OpError::Unsupported { op: OP, device: gpu.name.clone(), why }
    })
}

impl Kernels {
    fn new(threads: u32) -> Self {
        let header = || {
            Header::new()
                .count("THREADS", threads)
                .count("EDGE", EDGE)
                .count("BY_VIEW", BY_VIEW)
                .count("SUMS", SUMS)
                .number("DECAY", DECAY as f32)
                .number("EPSILON", EPSILON)
        };
        let view = |header: Header| header.text(include_str!("view.wgsl"));
        let image = || view(header()).text(include_str!("image.wgsl"));
        let unit = || {
            // Rows of a length that sends neighbours to different banks.
            let header = header().count("PITCH", threads + 8).count("PARTS", threads / 32);
            let header = header.count("PER_THREAD", CHUNK as u32 / threads);
            view(header).text(include_str!("unit.wgsl"))
        };
        let shift = (1.0f64 / 1.1).powf(1.0 / 0.1);
        let segments = || {
            let header = unit().number("SHIFT", shift as f32).number("SHIFT_POWER", shift.powf(1.1) as f32);
            header.text(include_str!("segments.wgsl"))
        };
        let slices = header().count("SLICES", threads / BY_VIEW);
        Self {
            forward: Kernel::new("alignment_forward", &image(), include_str!("forward.wgsl")),
            coarse: Kernel::new("alignment_coarse", &unit(), include_str!("coarse.wgsl")),
            fine: Kernel::new("alignment_fine", &segments(), include_str!("fine.wgsl")),
            fallback: Kernel::new("alignment_fallback", &segments(), include_str!("fallback.wgsl")),
            edges: Kernel::new("alignment_edges", &view(header()), include_str!("edges.wgsl")),
            views: Kernel::new("alignment_views", &slices, include_str!("views.wgsl")),
            depths: Kernel::new("alignment_depths", &view(header()), include_str!("depths.wgsl")),
            backward: Kernel::new("alignment_backward", &image(), include_str!("backward.wgsl")),
        }
    }
}

/// A [`Part`] on the device.
struct PartMemory {
    units: Memory,
    counts: [usize; 2],
    own: Memory,
    seen: Memory,
    other: Memory,
}

/// [`Drawn`] on the device.
struct DrawnMemory {
    units: Memory,
    count: usize,
    own: Memory,
    starts: Memory,
    points: Memory,
    share: f64,
}

/// What differs between the stages.
struct StageMemory {
    edges: Memory,
    count: usize,
    /// Edges of the coarse loss, which come first.
    coarse: usize,
    incidence: Memory,
    links: Memory,
}

/// The loop's memory and kernels.
pub(super) struct Loop {
    gpu: Gpu,
    kernels: Kernels,
    constants: Vec<LoopImage>,
    anchors: usize,
    levels: u32,
    parts: Vec<PartMemory>,
    drawn: DrawnMemory,
    /// `1 / sum of weights`, once per match and way.
    share: f64,
    stages: [StageMemory; 2],
    topology: Memory,
    blocks: Memory,
    block_count: usize,
    sums: Memory,
    segments: Memory,
    by_edges: Memory,
    by_views: Memory,
    block_sums: Memory,
    images: Memory,
    views: Memory,
    smallest: Memory,
    depths: Memory,
    moments: Memory,
    results: Memory,
    losses: Memory,
}

/// Memory with data from the host.
fn filled<T: Pod>(gpu: &Gpu, data: &[T]) -> Result<Memory, OpError> {
    let bytes: &[u8] = bytemuck::cast_slice(data);
    let memory = reserve(gpu, bytes.len())?;
    gpu.upload(&memory, bytes)?;
    Ok(memory)
}

/// Memory that one kernel can see as one array.
fn reserve(gpu: &Gpu, bytes: usize) -> Result<Memory, OpError> {
    let (caps, bytes) = (gpu.capabilities(), bytes as u64);
    if bytes > caps.max_binding_bytes {
        let why = format!("an array of {bytes} bytes is longer than the {} it binds", caps.max_binding_bytes);
        return Err(OpError::Unsupported { op: OP, device: caps.name.clone(), why });
    }
    Ok(gpu.allocate(OP, bytes)?)
}

fn floats(count: usize) -> usize {
    count * size_of::<f32>()
}

impl Loop {
    pub(super) fn new(gpu: &Gpu, problem: &LoopProblem<'_>, part_bytes: u64) -> Result<Self, OpError> {
        let threads = threads(gpu.capabilities())?;
        let (mut tree, levels) = topology(problem.root, problem.tree, problem.images.len())?;
        let mut packing = Packing::new(problem)?;
        let mut parts = Vec::new();
        for pairs in part_ranges(problem, part_bytes) {
            parts.push(PartMemory::new(gpu, &packing.part(&problem.pairs[pairs]))?);
        }
        let fine_segments = packing.segment_anchor.len();
        let drawn = DrawnMemory::new(gpu, &packing.drawn(problem), problem.target_weight)?;
        if packing.segment_anchor.len() > u32::MAX as usize || packing.rows > (1 << 30) {
            return Err(OpError::value(OP, "pairs", "fewer than 2^30 matches", packing.segment_anchor.len()));
        }
        let blocks = anchor_blocks(&packing.first_anchor, threads, &mut tree);
        let stages = [
            StageMemory::new(gpu, problem, &packing, (LoopStage::Coarse, fine_segments))?,
            StageMemory::new(gpu, problem, &packing, (LoopStage::Fine, 0))?,
        ];
        let (images, anchors, edges) = (problem.images.len(), packing.anchors(), stages[1].count);
        Ok(Self {
            gpu: gpu.clone(),
            kernels: Kernels::new(threads),
            constants: problem.images.to_vec(),
            anchors,
            levels,
            parts,
            drawn,
            share: if packing.weight > 0.0 { 1.0 / packing.weight } else { 0.0 },
            stages,
            topology: filled(gpu, &tree)?,
            block_count: blocks.len(),
            blocks: filled(gpu, &blocks)?,
            sums: reserve(gpu, floats(packing.rows * SUMS as usize))?,
            segments: reserve(gpu, floats(packing.segment_anchor.len()))?,
            by_edges: reserve(gpu, floats(edges * EDGE as usize))?,
            by_views: reserve(gpu, floats(images * BY_VIEW as usize))?,
            block_sums: reserve(gpu, floats(3 * blocks.len()))?,
            images: reserve(gpu, floats(images * IMAGE))?,
            views: reserve(gpu, floats(images * VIEW))?,
            smallest: reserve(gpu, floats(2))?,
            depths: reserve(gpu, floats(anchors))?,
            moments: reserve(gpu, floats(2 * anchors))?,
            results: reserve(gpu, floats(2 * anchors))?,
            losses: reserve(gpu, floats(1))?,
        })
    }

    /// Brings parameters to the device and clears the moments.
    pub(super) fn start(&mut self, parameters: &LoopParameters, iterations: usize) -> Result<(), OpError> {
        let mut images = vec![0.0f32; self.constants.len() * IMAGE];
        for ((out, p), c) in images.chunks_exact_mut(IMAGE).zip(&parameters.images).zip(&self.constants) {
            for (out, v) in out.iter_mut().zip(p) {
                *out = *v as f32;
            }
            out[LOG_FOCAL] = (p[LOG_FOCAL] - c.prior_focal_px.ln()) as f32;
            for (out, v) in out[CONSTANTS..].iter_mut().zip(numbers(c)) {
                *out = v as f32;
            }
        }
        self.gpu.upload(&self.images, bytemuck::cast_slice(&images))?;
        let depths: Vec<f32> = parameters.depths.iter().map(|&d| d as f32).collect();
        self.gpu.upload(&self.depths, bytemuck::cast_slice(&depths))?;
        self.gpu.clear(&self.moments)?;
        self.losses = reserve(&self.gpu, floats(iterations))?;
        Ok(())
    }

    /// Records: cameras from parameters.
    pub(super) fn forward(&self) -> Result<(), OpError> {
        let bindings = [&self.topology, &self.images, &self.views, &self.smallest];
        self.launch(&self.kernels.forward, &bindings, &[self.constants.len() as u32, self.levels], 1)
    }

    /// Records: loss and derivatives at the cameras, and the step if there is one.
    pub(super) fn iteration(
        &self,
        options: &LoopOptions,
        step: Option<Step>,
        iteration: usize,
    ) -> Result<(), OpError> {
        let stage = &self.stages[usize::from(options.stage == LoopStage::Fine)];
        self.units(options.stage)?;
        let (edges, coarse) = (stage.count as u32, stage.coarse as u32);
        let bindings = [&stage.edges, &self.sums, &self.views, &self.by_edges];
        self.launch(&self.kernels.edges, &bindings, &[edges, coarse], stage.count.div_ceil(64))?;
        let bindings = [&stage.incidence, &self.by_edges, &self.by_views];
        let images = self.constants.len();
        self.launch(&self.kernels.views, &bindings, &[images as u32], images)?;
        self.step_depths(stage, step.filter(|_| options.move_depths))?;
        self.backward(options, stage, step, iteration)
    }

    /// Records the losses of the matches and targets.
    fn units(&self, stage: LoopStage) -> Result<(), OpError> {
        let kernels = &self.kernels;
        for part in &self.parts {
            let lists = [&part.units, &part.own];
            match stage {
                LoopStage::Coarse => {
                    let more = [&part.seen, &part.other];
                    self.launch_units(&kernels.coarse, part.counts[0], self.share as f32, lists, &more)?;
                }
                LoopStage::Fine => {
                    // Both ways count.
                    let (share, more) = (0.5 * self.share as f32, [&self.segments, &part.seen]);
                    self.launch_units(&kernels.fine, part.counts[1], share, lists, &more)?;
                }
            }
        }
        let d = &self.drawn;
        let (lists, more) = ([&d.units, &d.own], [&self.segments, &d.starts, &d.points]);
        self.launch_units(&kernels.fallback, d.count, d.share as f32, lists, &more)
    }

    /// Launches a kernel over units: their `lists` and the arrays that `unit.wgsl` names, then those of the kernel itself.
    fn launch_units(
        &self,
        kernel: &Kernel,
        units: usize,
        share: f32,
        lists: [&Memory; 2],
        more: &[&Memory],
    ) -> Result<(), OpError> {
        let bindings = [&lists[..], &[&self.views, &self.depths, &self.sums], more].concat();
        self.launch(kernel, &bindings, &[units as u32, share.to_bits()], units)
    }

    fn step_depths(&self, stage: &StageMemory, step: Option<Step>) -> Result<(), OpError> {
        let (rate, root) = step.map_or((0.0f32, 1.0f32), |s| (s.rate, s.root));
        let params = [
            self.block_count as u32,
            self.anchors as u32,
            u32::from(step.is_some()),
            rate.to_bits(),
            root.to_bits(),
        ];
        let bindings = [
            &self.blocks,
            &stage.links,
            &self.segments,
            &self.views,
            &self.depths,
            &self.moments,
            &self.results,
            &self.block_sums,
        ];
        self.launch(&self.kernels.depths, &bindings, &params, self.block_count)
    }

    fn backward(
        &self,
        options: &LoopOptions,
        stage: &StageMemory,
        step: Option<Step>,
        iteration: usize,
    ) -> Result<(), OpError> {
        let images = self.constants.len();
        let moves = options.moves.iter().enumerate().fold(0u32, |bits, (k, &m)| bits | u32::from(m) << k);
        let (rate, root) = step.map_or((0.0f32, 1.0f32), |s| (s.rate, s.root));
        let prior = |weight: f64| match options.stage {
            LoopStage::Coarse => 0.0f32,
            LoopStage::Fine => (weight / images as f64) as f32,
        };
        let params = [
            images as u32,
            self.levels,
            stage.count as u32,
            iteration as u32,
            moves,
            u32::from(options.shared_intrinsics),
            u32::from(step.is_some()),
            rate.to_bits(),
            root.to_bits(),
            prior(options.focal_prior).to_bits(),
            prior(options.principal_prior).to_bits(),
        ];
        let bindings = [
            &self.topology,
            &self.images,
            &self.views,
            &self.smallest,
            &self.by_edges,
            &self.by_views,
            &self.block_sums,
            &self.losses,
        ];
        self.launch(&self.kernels.backward, &bindings, &params, 1)
    }

    fn launch(
        &self,
        kernel: &Kernel,
        memories: &[&Memory],
        params: &[u32],
        groups: usize,
    ) -> Result<(), OpError> {
        let bindings: Vec<Binding<'_>> = memories.iter().map(|&m| m.into()).collect();
        Ok(self.gpu.launch(kernel, &bindings, params, spread(groups as u64))?)
    }

    fn read(&self, memory: &Memory, count: usize) -> Result<Vec<f32>, OpError> {
        let bytes = self.gpu.read(memory, floats(count) as u64)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The losses of the first iterations.
    pub(super) fn losses(&self, iterations: usize) -> Result<Vec<f64>, OpError> {
        Ok(self.read(&self.losses, iterations)?.into_iter().map(f64::from).collect())
    }

    /// The derivatives of the last iteration.
    pub(super) fn gradient(&self) -> Result<LoopParameters, OpError> {
        let images = self.image_numbers(GRADIENT)?;
        let results = self.read(&self.results, 2 * self.anchors)?;
        Ok(LoopParameters { images, depths: results.chunks_exact(2).map(|r| f64::from(r[1])).collect() })
    }

    /// The parameters after the last step.
    pub(super) fn parameters(&self) -> Result<LoopParameters, OpError> {
        let mut images = self.image_numbers(0)?;
        for (p, c) in images.iter_mut().zip(&self.constants) {
            p[LOG_FOCAL] += c.prior_focal_px.ln();
        }
        let depths = self.read(&self.depths, self.anchors)?;
        Ok(LoopParameters { images, depths: depths.into_iter().map(f64::from).collect() })
    }

    fn image_numbers(&self, first: usize) -> Result<Vec<[f64; IMAGE_PARAMETERS]>, OpError> {
        let images = self.read(&self.images, self.constants.len() * IMAGE)?;
        let numbers = |image: &[f32]| std::array::from_fn(|k| f64::from(image[first + k]));
        Ok(images.chunks_exact(IMAGE).map(numbers).collect())
    }

    /// Cameras and depths of the last iteration.
    pub(super) fn scene(&self) -> Result<LoopScene, OpError> {
        let views = self.read(&self.views, self.constants.len() * VIEW)?;
        let view = |v: &[f32]| {
            let at = |k: usize| f64::from(v[k]);
            PinholeView {
                rotation: std::array::from_fn(|r| std::array::from_fn(|c| at(3 * r + c))),
                center: [at(9), at(10), at(11)],
                focal_px: at(12),
                principal_px: [at(13), at(14)],
                relief: at(15),
            }
        };
        let results = self.read(&self.results, 2 * self.anchors)?;
        Ok(LoopScene {
            views: views.chunks_exact(VIEW).map(view).collect(),
            depths: results.chunks_exact(2).map(|r| r[0]).collect(),
        })
    }
}

/// The constants of an image as `image.wgsl` has them.
fn numbers(c: &LoopImage) -> [f64; 11] {
    let diagonal = c.size[0].hypot(c.size[1]);
    let ([w, h], [x, y], [cx, cy]) = (c.size, c.pivot_px, c.prior_center);
    [w, h, c.base_focal_px, c.median_depth, x, y, 0.25 * diagonal, 10.0 * diagonal, c.prior_focal_px, cx, cy]
}

/// Runs of pairs whose matches, both ways, fit into arrays of that many bytes; a pair is not cut.
fn part_ranges(problem: &LoopProblem<'_>, part_bytes: u64) -> Vec<std::ops::Range<usize>> {
    let most = (part_bytes / (2 * size_of::<[u32; 4]>() as u64)) as usize;
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut matches = 0;
    for (i, pair) in problem.pairs.iter().enumerate() {
        let n = pair.weights.len();
        match ranges.last_mut() {
            Some(range) if matches + n <= most => range.end = i + 1,
            _ => {
                ranges.push(i..i + 1);
                matches = 0;
            }
        }
        matches += n;
    }
    ranges
}

/// Image, first anchor and number of anchors of every block; tells `tree` where the blocks of every image start.
fn anchor_blocks(first_anchor: &[u32], threads: u32, tree: &mut Vec<u32>) -> Vec<[u32; 4]> {
    let mut blocks = Vec::new();
    tree.push(0);
    for (image, ends) in first_anchor.windows(2).enumerate() {
        for first in (ends[0]..ends[1]).step_by(threads as usize) {
            blocks.push([image as u32, first, threads.min(ends[1] - first), 0]);
        }
        tree.push(blocks.len() as u32);
    }
    blocks
}

impl PartMemory {
    fn new(gpu: &Gpu, part: &Part) -> Result<Self, OpError> {
        Ok(Self {
            units: filled::<Unit>(gpu, &part.units)?,
            counts: [part.first_way, part.units.len()],
            own: filled(gpu, &part.own)?,
            seen: filled(gpu, &part.seen)?,
            other: filled(gpu, &part.other)?,
        })
    }
}

impl DrawnMemory {
    fn new(gpu: &Gpu, drawn: &Drawn, weight: f64) -> Result<Self, OpError> {
        Ok(Self {
            units: filled::<Unit>(gpu, &drawn.units)?,
            count: drawn.units.len(),
            own: filled(gpu, &drawn.own)?,
            starts: filled(gpu, &drawn.starts)?,
            points: filled(gpu, &drawn.points)?,
            share: if drawn.weight > 0.0 { weight / drawn.weight } else { 0.0 },
        })
    }
}

impl StageMemory {
    fn new(
        gpu: &Gpu,
        problem: &LoopProblem<'_>,
        packing: &Packing,
        (stage, first_segment): (LoopStage, usize),
    ) -> Result<Self, OpError> {
        let [one_way, other_way, drawn] = &packing.edges;
        let (edges, coarse): (Vec<Edge>, usize) = match stage {
            LoopStage::Coarse => ([one_way.as_slice(), drawn].concat(), one_way.len()),
            LoopStage::Fine => ([one_way.as_slice(), other_way, drawn].concat(), 0),
        };
        let lists = incidence(&edges, problem.images.len(), [EDGE, BY_VIEW]);
        Ok(Self {
            count: edges.len(),
            coarse,
            edges: filled(gpu, &edges)?,
            incidence: filled(gpu, &lists)?,
            links: filled(gpu, &packing.links(first_segment))?,
        })
    }
}
