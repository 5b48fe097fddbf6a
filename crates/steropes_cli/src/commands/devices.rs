//! `steropes devices`.

use crate::Common;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use steropes_ops::cpu::Isa;
use steropes_tensor::{Capabilities, DType, Device};

/// List the devices of this machine and what they can do
///
/// The star marks the device that --device auto takes: a hardware GPU if there is one that opens, else the CPU. A GPU
/// that is a program on the CPU is only used when it is named.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes devices
  steropes reconstruct photos/ -o scene --device gpu:1
  steropes doctor --device \"part of a name\"")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let gpus = Device::gpus();
    let chosen = match Device::best() {
        Device::Cpu => None,
        Device::Gpu(gpu) => gpus.iter().position(|caps| caps == gpu.capabilities()),
    };
    if common.json {
        let gpus: Vec<Value> = gpus
            .iter()
            .enumerate()
            .map(|(i, caps)| {
                let mut gpu = gpu_json(caps);
                gpu["selector"] = json!(format!("gpu:{i}"));
                gpu["auto"] = json!(chosen == Some(i));
                gpu
            })
            .collect();
        let cpu = json!({
            "selector": "cpu",
            "instruction_set": Isa::current().name(),
            "threads": rayon::current_num_threads(),
            "auto": chosen.is_none(),
        });
        serde_json::to_writer_pretty(&mut *out, &json!({ "cpu": cpu, "gpus": gpus }))?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let star = |is_chosen| if is_chosen { '*' } else { ' ' };
    writeln!(
        out,
        "{} cpu    {} with {} threads",
        star(chosen.is_none()),
        Isa::current().name(),
        rayon::current_num_threads()
    )?;
    for (i, caps) in gpus.iter().enumerate() {
        writeln!(out, "{} gpu:{i}  {}", star(chosen == Some(i)), caps.name)?;
        for line in details(caps) {
            writeln!(out, "         {line}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a user or a bug report wants to know of a GPU.
fn details(caps: &Capabilities) -> Vec<String> {
    let kind = if caps.software { "a program on the CPU" } else { "hardware" };
    let subgroups = match caps.subgroup {
        None => "no subgroups".to_owned(),
        Some([min, max]) if min == max => format!("subgroups of {min}"),
        Some([min, max]) => format!("subgroups of {min} to {max}"),
    };
    let f16 = if caps.f16 { "f16" } else { "no f16" };
    let clock = if caps.timestamps { "timestamps" } else { "no timestamps" };
    vec![
        format!("{}, driver {}, {kind}", caps.api, caps.driver),
        format!("{f16}, {subgroups}, {}, {clock}", matrices(caps)),
        format!(
            "tensors up to {}, bindings up to {}, workgroups of {} with {}",
            size(caps.max_buffer_bytes),
            size(caps.max_binding_bytes),
            caps.workgroup_threads,
            size(u64::from(caps.workgroup_bytes))
        ),
    ]
}

fn matrices(caps: &Capabilities) -> String {
    match [DType::F16, DType::F32].map(|dtype| (dtype, caps.matrix_tile(dtype))) {
        [(_, None), (_, None)] if caps.matrices.is_empty() => "no matrices".to_owned(),
        [(_, None), (_, None)] => "matrices of shapes that are not used".to_owned(),
        tiles => {
            let used = tiles.iter().filter_map(|(dtype, tile)| tile.map(|t| format!("{dtype} {t}x{t}")));
            format!("matrices {}", used.collect::<Vec<_>>().join(" and "))
        }
    }
}

/// Bytes with a unit.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB"];
    let power = (1..units.len()).take_while(|&p| bytes >> (10 * p) > 0).last().unwrap_or(0);
    format!("{:.0} {}", bytes as f64 / 1024f64.powi(power as i32), units[power])
}

/// What an adapter said.
pub(crate) fn gpu_json(caps: &Capabilities) -> Value {
    let matrices: Vec<Value> = caps
        .matrices
        .iter()
        .map(|m| json!({ "mnk": m.mnk, "input": m.input.to_string(), "sum": m.sum.to_string() }))
        .collect();
    json!({
        "name": caps.name,
        "api": caps.api.to_string(),
        "driver": caps.driver,
        "software": caps.software,
        "f16": caps.f16,
        "subgroup": caps.subgroup,
        "matrices": matrices,
        "timestamps": caps.timestamps,
        "max_binding_bytes": caps.max_binding_bytes,
        "max_buffer_bytes": caps.max_buffer_bytes,
        "workgroup_bytes": caps.workgroup_bytes,
        "workgroup_threads": caps.workgroup_threads,
    })
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [0, 1023, 1024, 48 << 10, 128 << 20].map(size).join(", "),
            "0 bytes, 1023 bytes, 1 KiB, 48 KiB, 128 MiB"
        );
        assert_eq!(size((1 << 31) - 4), "2 GiB");
        assert_eq!(size(4_292_870_144), "4 GiB");
    }
}
