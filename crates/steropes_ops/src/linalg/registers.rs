//! Panels of columns that stay in the registers of one workgroup: choice of the workgroup by the height, and what their kernels share.

use steropes_tensor::{Capabilities, GpuApi, Header};

/// Vectors of four rows that an invocation holds at most: 64 values, and as many registers are left for the rest.
const MOST_QUADS: usize = 16;

/// Invocations of a workgroup, the fewest first: more would have fewer registers each.
const THREADS: [u32; 2] = [256, 512];

/// What a device lets a workgroup have.
#[derive(Clone, Copy, Debug)]
pub(in crate::linalg) struct Limits {
    /// Invocations.
    pub(in crate::linalg) threads: u32,
    /// Bytes of its memory.
    pub(in crate::linalg) bytes: u32,
    /// The size of every subgroup, if all have one.
    pub(in crate::linalg) subgroup: Option<u32>,
}

impl Limits {
    pub(in crate::linalg) fn of(gpu: &Capabilities) -> Self {
        let subgroup = gpu.subgroup_size().filter(|size| size.is_power_of_two());
        // Metal lowers the limit of a kernel with many registers, and wgpu does not tell.
        let most = if gpu.api == GpuApi::Metal { 256 } else { u32::MAX };
        Self { threads: gpu.workgroup_threads.min(most), bytes: gpu.workgroup_bytes, subgroup }
    }
}

/// How a workgroup holds a panel: an invocation has one column of `4 quads` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::linalg) struct Registers {
    pub(in crate::linalg) columns: u32,
    threads: u32,
    quads: u32,
    subgroup: Option<u32>,
}

impl Registers {
    /// The form of the most columns among `columns`, powers of two from the largest down, that holds `height` rows of them, and
    /// `shared` columns in workgroup memory.
    pub(in crate::linalg) fn choose(
        limits: &Limits,
        columns: &[u32],
        height: usize,
        shared: u32,
    ) -> Option<Self> {
        let most = 1 << limits.threads.max(1).ilog2();
        columns.iter().find_map(|&columns| {
            THREADS.iter().map(|&threads| threads.min(most)).find_map(|threads| {
                let teams = (threads / columns) as usize;
                // The rows of the diagonal are those of one team.
                let quads = height.div_ceil(4 * teams.max(1)).next_multiple_of(4).max(columns as usize / 4);
                let subgroup = limits.subgroup.filter(|&size| threads.is_multiple_of(size));
                let form = Self { columns, threads, quads: quads as u32, subgroup };
                (teams > 0 && quads <= MOST_QUADS && form.bytes(shared) <= limits.bytes).then_some(form)
            })
        })
    }

    /// At most so many bytes of workgroup memory: columns, parts of sums or pivots, and what the columns have of each other.
    fn bytes(self, shared: u32) -> u32 {
        let teams = self.threads / self.columns;
        shared * teams * (self.quads + 1) * 16 + 4 * (2 * self.threads + self.columns * (self.columns + 4))
    }

    /// The header with extents, `SUBGROUP` where all subgroups have one size, and what loads and stores the rows of an invocation.
    pub(in crate::linalg) fn header(self) -> Header {
        let header = Header::new()
            .count("THREADS", self.threads)
            .count("COLUMNS", self.columns)
            .count("QUADS", self.quads)
            .text(include_str!("registers.wgsl"))
            .text(&self.loads());
        match self.subgroup {
            Some(size) => header.count("SUBGROUP", size),
            None => header,
        }
    }

    /// Whether the kernel may use subgroups.
    pub(in crate::linalg) fn has_subgroups(self) -> bool {
        self.subgroup.is_some()
    }

    /// `template` for every vector of four rows, registers being addressed by constants.
    pub(in crate::linalg) fn each(self, template: impl Fn(u32) -> String) -> String {
        (0..self.quads).map(template).collect()
    }

    /// As [`Self::each`], with another template for the vectors that may have rows of the diagonal.
    pub(in crate::linalg) fn each_from_diagonal(
        self,
        diagonal: impl Fn(u32) -> String,
        below: impl Fn(u32) -> String,
    ) -> String {
        self.each(|q| if q < self.columns / 4 { diagonal(q) } else { below(q) })
    }

    fn loads(self) -> String {
        let parts = |q: u32, template: &dyn Fn(u32, &str) -> String| -> String {
            ["x", "y", "z", "w"].iter().zip(4 * q..).map(|(part, i)| template(i, part)).collect()
        };
        let loads = self.each(|q| {
            parts(q, &|i, part| {
                format!("    (*rows)[{q}].{part} = value_at(base, row + {i}u, c);\n", q = i / 4)
            })
        });
        let stores = self.each(|q| {
            parts(q, &|i, part| format!("    store(base, row + {i}u, c, (*rows)[{}].{part});\n", i / 4))
        });
        let head = (0..self.columns / 4).map(|q| {
            parts(q, &|i, part| format!("    head = select(head, (*rows)[{}].{part}, j == {i}u);\n", i / 4))
        });
        let head: String = head.collect();
        format!(
            "alias Rows = array<vec4<f32>, {}>;\n\
             fn load_rows(rows: ptr<function, Rows>, base: u32, row: u32, c: u32) {{\n{loads}}}\n\
             fn store_rows(rows: ptr<function, Rows>, base: u32, row: u32, c: u32) {{\n{stores}}}\n\
             fn head_of(rows: ptr<function, Rows>, j: u32) -> f32 {{\n    var head = 0.0;\n{head}    return head;\n}}\n",
            self.quads
        )
    }
}

/// The numbers of four rows, from `first + 4 q` on.
pub(in crate::linalg) fn four_rows(first: &str, q: u32) -> String {
    format!("{first} + vec4<u32>({}u, {}u, {}u, {}u)", 4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3)
}
