//! From WGSL to the texts that Metal and DX12 compile, as wgpu makes them.

use naga::back::{hlsl, msl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities as Valid, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess};
use steropes_tensor::{Capabilities, GpuApi};

/// A kernel as naga understands it.
pub(crate) struct Parsed {
    pub(crate) module: Module,
    pub(crate) info: ModuleInfo,
}

/// A kernel as Metal source.
pub(crate) struct MetalText {
    pub(crate) text: String,
    /// The entry point's name in the text.
    pub(crate) entry: String,
    pub(crate) slots: Slots,
}

/// Where a kernel's arguments are in Metal's list of buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The small numbers.
    pub(crate) immediates: Option<u8>,
    /// For each binding of group 0 its number in WGSL and its slot.
    pub(crate) bindings: Vec<(u32, u8)>,
    /// The bytes of every array without a fixed length.
    pub(crate) sizes: Option<u8>,
    /// The bindings whose bytes stand there, in order.
    pub(crate) sized: Vec<u32>,
}

/// Parses and validates a kernel with nothing but what the device has.
///
/// # Errors
/// What naga says, with the place.
pub(crate) fn parse(text: &str, device: &Capabilities) -> Result<Parsed, String> {
    // Metal and DX12 convert halves in 32-bit words without f16 itself.
    let mut allowed = Valid::IMMEDIATES | Valid::SHADER_FLOAT16_IN_FLOAT32;
    allowed.set(Valid::SHADER_FLOAT16, device.f16);
    allowed.set(Valid::SUBGROUP | Valid::SUBGROUP_BARRIER, device.subgroup.is_some());
    allowed.set(Valid::COOPERATIVE_MATRIX, !device.matrices.is_empty());
    let mut frontend = naga::front::wgsl::Frontend::new();
    frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities: allowed });
    let module = frontend.parse(text).map_err(|e| one_line(&e.emit_to_string(text)))?;
    let info = Validator::new(ValidationFlags::all(), allowed)
        .validate(&module)
        .map_err(|e| one_line(&e.emit_to_string(text)))?;
    Ok(Parsed { module, info })
}

/// The text that wgpu gives to Metal for a kernel compiled without run-time checks.
///
/// # Errors
/// What naga says.
pub(crate) fn metal(parsed: &Parsed, version: (u8, u8)) -> Result<MetalText, String> {
    let slots = slots(&parsed.module);
    let mutable = |number: u32| {
        parsed.module.global_variables.iter().any(|(_, var)| {
            let stores = matches!(var.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
            var.binding == Some(ResourceBinding { group: 0, binding: number }) && stores
        })
    };
    let resources = slots.bindings.iter().map(|&(number, slot)| {
        let target = msl::BindTarget { buffer: Some(slot), mutable: mutable(number), ..Default::default() };
        (ResourceBinding { group: 0, binding: number }, target)
    });
    let resources = msl::EntryPointResources {
        resources: resources.collect(),
        immediates_buffer: slots.immediates,
        sizes_buffer: slots.sizes,
    };
    let unchecked = BoundsCheckPolicies {
        index: BoundsCheckPolicy::Unchecked,
        buffer: BoundsCheckPolicy::Unchecked,
        image_load: BoundsCheckPolicy::Unchecked,
        binding_array: BoundsCheckPolicy::Unchecked,
    };
    let options = msl::Options {
        lang_version: version,
        per_entry_point_map: [("main".to_owned(), resources)].into_iter().collect(),
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".to_owned())),
        vertex_pulling_transform: true,
        ..Default::default()
    };
    let (text, info) = msl::write_string(&parsed.module, &parsed.info, &options, &pipeline)
        .map_err(|e| one_line(&e.to_string()))?;
    let entry = info.entry_point_names.first().ok_or("there is no entry point")?;
    let entry = entry.clone().map_err(|e| e.to_string())?;
    Ok(MetalText { text, entry, slots })
}

/// The slots that wgpu gives out: small numbers, bindings in the order of their numbers, sizes of arrays.
fn slots(module: &Module) -> Slots {
    let mut slots = Slots::default();
    let mut next = 0u8;
    let mut take = || {
        next += 1;
        next - 1
    };
    let variables = || module.global_variables.iter().map(|(_, var)| var);
    if variables().any(|var| var.space == AddressSpace::Immediate) {
        slots.immediates = Some(take());
    }
    let mut numbers: Vec<u32> = variables().filter_map(|var| Some(var.binding?.binding)).collect();
    numbers.sort_unstable();
    slots.bindings = numbers.into_iter().map(|number| (number, take())).collect();
    if variables().any(|var| matches!(var.space, AddressSpace::Storage { .. })) {
        slots.sizes = Some(take());
    }
    slots.sized = variables()
        .filter(|var| module.types[var.ty].inner.needs_host_buffer_byte_size(&module.types))
        .filter_map(|var| Some(var.binding?.binding))
        .collect();
    slots
}

/// The text that wgpu gives to DX12's compiler, in the lowest shader model that has what the device has.
///
/// # Errors
/// What naga says.
pub(crate) fn hlsl(parsed: &Parsed, device: &Capabilities) -> Result<String, String> {
    debug_assert_eq!(device.api, GpuApi::Dx12, "only DX12 compiles HLSL");
    let target = |space: u8, register: u32| hlsl::BindTarget { space, register, ..Default::default() };
    let bindings = parsed.module.global_variables.iter().filter_map(|(_, var)| var.binding);
    let options = hlsl::Options {
        shader_model: if device.f16 { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 },
        binding_map: bindings.map(|b| (b, target(0, b.binding))).collect(),
        fake_missing_bindings: false,
        immediates_target: Some(target(1, 0)),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".to_owned())) };
    // The writer panics about what it has not.
    let written = crate::children::catch(|| {
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&parsed.module, &parsed.info, None)
            .map_err(|e| one_line(&e.to_string()))?;
        Ok(text)
    });
    written.unwrap_or_else(|said| Err(format!("naga does not write it: {said}")))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
