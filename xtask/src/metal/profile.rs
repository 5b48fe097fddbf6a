//! The devices whose kernels are checked.

use std::sync::LazyLock;
use steropes_tensor::{Capabilities, DType, GpuApi, MatrixShape};

/// A device that is not here.
pub(crate) struct Profile {
    /// The name in the report.
    pub(crate) name: &'static str,
    pub(crate) capabilities: Capabilities,
    /// Whether its kernels are executed; else they are only translated.
    pub(crate) executes: bool,
    /// Whether only the cases with f16 run, because the others select the kernels of another device here.
    pub(crate) only_f16: bool,
}

/// All of them.
pub(crate) static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let device = |name, capabilities, executes| Profile { name, capabilities, executes, only_f16: false };
    vec![
        device("apple", apple(), true),
        device("intel-mac", intel_mac(), true),
        Profile { only_f16: true, ..device("amd-mac", amd_mac(), true) },
        device("dx12", dx12(true, Some([32, 32])), false),
        device("dx12-waves-vary", dx12(true, Some([8, 64])), false),
        device("dx12-plain", dx12(false, None), false),
    ]
});

/// An Apple GPU (M1 and later) as wgpu reports it.
fn apple() -> Capabilities {
    let matrix = |input, sum| MatrixShape { mnk: [8; 3], input, sum };
    Capabilities {
        name: "Apple GPU (stand-in)".to_owned(),
        api: GpuApi::Metal,
        driver: "none".to_owned(),
        software: true,
        f16: true,
        subgroup: Some([32, 32]),
        matrices: vec![
            matrix(DType::F32, DType::F32),
            matrix(DType::F16, DType::F16),
            matrix(DType::F16, DType::F32),
        ],
        timestamps: false,
        max_binding_bytes: (1 << 31) - 4,
        max_buffer_bytes: 1 << 32,
        workgroup_bytes: 32 << 10,
        workgroup_threads: 1024,
    }
}

/// A GPU of an older Mac: nothing but the plain forms.
fn intel_mac() -> Capabilities {
    Capabilities {
        name: "Intel Mac GPU (stand-in)".to_owned(),
        f16: false,
        subgroup: None,
        matrices: Vec::new(),
        max_binding_bytes: 128 << 20,
        max_buffer_bytes: 1 << 31,
        ..apple()
    }
}

/// A GPU of a Mac with f16 and subgroups of more than one size: the plain forms again, with f16.
fn amd_mac() -> Capabilities {
    Capabilities {
        name: "AMD Mac GPU (stand-in)".to_owned(),
        f16: true,
        subgroup: Some([32, 64]),
        ..intel_mac()
    }
}

/// A GPU under DX12, which has no matrices.
fn dx12(f16: bool, subgroup: Option<[u32; 2]>) -> Capabilities {
    Capabilities {
        name: "DX12 GPU (stand-in)".to_owned(),
        api: GpuApi::Dx12,
        f16,
        subgroup,
        matrices: Vec::new(),
        ..apple()
    }
}

/// A device of that profile on which nothing runs, to ask what cases need.
pub(crate) fn unconnected(profile: &'static Profile) -> steropes_tensor::Device {
    let stand_in = super::backend::StandIn::without_compiler(profile);
    steropes_tensor::Device::Gpu(steropes_tensor::Gpu::new(Box::new(stand_in)))
}
