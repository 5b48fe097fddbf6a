//! The adapters of this machine.

use crate::gpu::{Capabilities, GpuApi, MatrixShape};
use crate::{DType, DeviceError};
use wgpu::{Backends, CooperativeScalarType, DeviceType, Features};

/// An adapter with what it can do.
pub(crate) struct Adapter {
    adapter: wgpu::Adapter,
    pub(crate) capabilities: Capabilities,
    discrete: bool,
}

/// The adapters that can run kernels, the best first: discrete before integrated before software.
pub(crate) fn adapters() -> Vec<Adapter> {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut found: Vec<Adapter> = pollster::block_on(instance.enumerate_adapters(backends))
        .into_iter()
        .filter_map(Adapter::new)
        .collect();
    let rank = |a: &Adapter| {
        let api = match a.capabilities.api {
            GpuApi::Metal | GpuApi::Vulkan => 0,
            GpuApi::Dx12 => 1,
        };
        (a.capabilities.software, !a.discrete, api)
    };
    found.sort_by_key(rank);
    found
}

/// Features that kernels need: small numbers reach them without a buffer.
const REQUIRED: Features = Features::IMMEDIATES;

impl Adapter {
    fn new(adapter: wgpu::Adapter) -> Option<Self> {
        let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
        if !features.contains(REQUIRED) {
            log::info!("`{}` cannot run kernels: no immediate data", info.name);
            return None;
        }
        let api = match info.backend {
            wgpu::Backend::Vulkan => GpuApi::Vulkan,
            wgpu::Backend::Metal => GpuApi::Metal,
            wgpu::Backend::Dx12 => GpuApi::Dx12,
            _ => return None,
        };
        let software = info.device_type == DeviceType::Cpu;
        let subgroups = features.contains(Features::SUBGROUP | Features::SUBGROUP_BARRIER);
        let mut subgroup = subgroups.then_some([info.subgroup_min_size, info.subgroup_max_size]);
        let matrices = matrices(&adapter, features);
        if api == GpuApi::Metal && !matrices.is_empty() {
            // Metal names a range for all chips; the chips that have matrices have subgroups of 32, as the type needs.
            subgroup = subgroup.map(|_| [32, 32]);
        }
        let capabilities = Capabilities {
            name: info.name.clone(),
            api,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software,
            f16: features.contains(Features::SHADER_F16),
            subgroup,
            matrices,
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            // Kernels count elements in 32 bits.
            max_binding_bytes: limits.max_storage_buffer_binding_size.min((1 << 31) - 4),
            max_buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_threads: limits.max_compute_invocations_per_workgroup,
        };
        Some(Self { adapter, capabilities, discrete: info.device_type == DeviceType::DiscreteGpu })
    }

    /// A device with every feature that kernels can use and the adapter's own limits.
    pub(super) fn open(&self) -> Result<(wgpu::Device, wgpu::Queue), DeviceError> {
        let wanted = REQUIRED
            | Features::SHADER_F16
            | Features::SUBGROUP
            | Features::SUBGROUP_BARRIER
            | Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            | Features::TIMESTAMP_QUERY
            | Features::PIPELINE_CACHE;
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: self.adapter.features() & wanted,
            required_limits: self.adapter.limits(),
            // SAFETY: the one experimental feature used is matrices, whose kernels are checked against oracles.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        pollster::block_on(self.adapter.request_device(&descriptor)).map_err(|error| DeviceError::Refused {
            device: self.capabilities.name.clone(),
            why: error.to_string(),
        })
    }
}

fn matrices(adapter: &wgpu::Adapter, features: Features) -> Vec<MatrixShape> {
    if !features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return Vec::new();
    }
    let dtype = |t| match t {
        CooperativeScalarType::F32 => Some(DType::F32),
        CooperativeScalarType::F16 => Some(DType::F16),
        _ => None,
    };
    let shape = |p: &wgpu::CooperativeMatrixProperties| {
        let (input, sum) = (dtype(p.ab_type)?, dtype(p.cr_type)?);
        Some(MatrixShape { mnk: [p.m_size, p.n_size, p.k_size], input, sum })
    };
    adapter.cooperative_matrix_properties().iter().filter_map(shape).collect()
}
