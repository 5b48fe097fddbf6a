//! What an adapter can do.

use crate::DType;

/// The interface that a GPU is reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuApi {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
}

impl std::fmt::Display for GpuApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vulkan => "Vulkan",
            Self::Metal => "Metal",
            Self::Dx12 => "DX12",
        })
    }
}

/// A product of small matrices that the subgroups of a device do together: `m x k` times `k x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// Rows of the result, columns of the result, and depth.
    pub mnk: [u32; 3],
    /// Element type of the factors.
    pub input: DType,
    /// Element type of the sum.
    pub sum: DType,
}

/// What an adapter said it can do. Kernels choose their form by this and never by a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// The adapter's name.
    pub name: String,
    /// The interface that it is reached through.
    pub api: GpuApi,
    /// Driver and version.
    pub driver: String,
    /// Whether it is a program that runs on the CPU.
    pub software: bool,
    /// Whether kernels may use f16.
    pub f16: bool,
    /// Smallest and largest number of invocations in a subgroup; `None` without subgroup operations.
    pub subgroup: Option<[u32; 2]>,
    /// Products of small matrices; empty without them.
    pub matrices: Vec<MatrixShape>,
    /// Whether launches can be timed.
    pub timestamps: bool,
    /// The most bytes that one binding may have.
    pub max_binding_bytes: u64,
    /// The most bytes that one tensor may have.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_threads: u32,
}

impl Capabilities {
    /// Offsets of bindings are multiples of this many bytes; no interface asks for more.
    pub const BINDING_ALIGNMENT: u64 = 256;

    /// The size of every subgroup, if all have one.
    pub fn subgroup_size(&self) -> Option<u32> {
        self.subgroup.filter(|[min, max]| min == max).map(|[min, _]| min)
    }

    /// The side of the square matrices that subgroups of 32 multiply, from f16 or f32 (`input`) with sums in f32: 16, 8 or none.
    /// WGSL can name only these two sizes.
    pub fn matrix_tile(&self, input: DType) -> Option<u32> {
        self.subgroup_size().filter(|&size| size == 32)?;
        [16, 8].into_iter().find(|&t| {
            self.matrices.iter().any(|m| m.mnk == [t; 3] && m.input == input && m.sum == DType::F32)
        })
    }
}
