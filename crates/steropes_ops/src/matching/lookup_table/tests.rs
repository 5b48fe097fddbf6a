use super::{Asked, LookupTable, OpError, UNKNOWN};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error, gpu_case, inputs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("lookup_table/oracle/one_track", |d| walk(d, 1, 1)),
        case("lookup_table/oracle/few_pixels", |d| walk(d, 700, 5)),
        case("lookup_table/oracle/odd_sizes", |d| walk(d, 1301, 997)),
        case("lookup_table/oracle/a_whole_list", |d| walk(d, 256, 4000)),
        case("lookup_table/property/no_tracks", |d| {
            let mut table = LookupTable::new(d, 5).map_err(text)?;
            let none = list(d, &[]);
            let asked = table.ask(&none, &none).map_err(text)?;
            check_equal(&read(&asked.count)?, &[0])?;
            table.answer(&asked, &none).map_err(text)?;
            check_equal(table.follow(&none, &none, &none, false).map_err(text)?.to.shape(), &[0])
        }),
        case("lookup_table/property/pixels_outside_stop", pixels_outside_stop),
        case("lookup_table/property/every_track_asks", every_track_asks),
        case("lookup_table/property/the_pixel_behind_the_last", the_pixel_behind_the_last),
        case("lookup_table/property/asked_and_not_answered", asked_and_not_answered),
        case("lookup_table/property/what_is_behind_the_count_is_ignored", behind_the_count),
        case("lookup_table/error/arguments", arguments),
        gpu_case("lookup_table/error/device", |d| {
            let mut table = LookupTable::new(d, 5).map_err(text)?;
            let (here, there) = (list(d, &[1]), list(&Device::Cpu, &[1]));
            expect_error(table.ask(&there, &there), "`pixels` must be on")?;
            expect_error(table.ask(&here, &there), "`active` must be on")
        }),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn list(device: &Device, data: &[u32]) -> Tensor {
    Tensor::new(device, &[data.len()], data.to_vec()).expect("a list fits its shape")
}

fn read(tensor: &Tensor) -> Result<Vec<u32>, String> {
    tensor.read().map_err(text)
}

/// Numbers below `limit`.
fn numbers(name: &str, count: usize, limit: usize) -> Vec<u32> {
    let random = inputs::uniform(name, count);
    random.iter().map(|v| (((v + 1.0) * 0.5 * limit as f32) as u32).min(limit as u32 - 1)).collect()
}

/// Three rounds of questions, answers and steps beside plain lists.
fn walk(device: &Device, tracks: usize, pixels: usize) -> Verdict {
    let answers = numbers("lookup_table/answers", pixels, 3 * pixels);
    let mut table = LookupTable::new(device, pixels).map_err(text)?;
    let mut known = vec![None; pixels];
    let mut to = vec![UNKNOWN; tracks];
    for round in 0..3 {
        let from = numbers(&format!("lookup_table/from{round}"), tracks, pixels);
        let active: Vec<u32> = (0..tracks).map(|t| u32::from(t % 5 != round)).collect();
        let asking = from.iter().zip(&active).filter(|(_, active)| **active != 0).map(|(pixel, _)| *pixel);
        let mut want: Vec<u32> = asking.filter(|p| known[*p as usize].is_none()).collect();
        want.sort_unstable();
        want.dedup();

        let (from_on, active_on) = (list(device, &from), list(device, &active));
        let asked = table.ask(&from_on, &active_on).map_err(text)?;
        let count = read(&asked.count)?[0] as usize;
        let pixels = read(&asked.pixels)?;
        let mut got = pixels[..count.min(tracks)].to_vec();
        got.sort_unstable();
        check_equal(&got, &want).map_err(|e| format!("round {round}, asked: {e}"))?;

        // What stands behind the count must not become an answer.
        let mut given = vec![7; tracks];
        for (given, pixel) in given.iter_mut().zip(&pixels[..count]) {
            *given = answers[*pixel as usize];
            known[*pixel as usize] = Some(*given);
        }
        table.answer(&asked, &list(device, &given)).map_err(text)?;

        let keep_going = round == 1;
        let step = table.follow(&from_on, &list(device, &to), &active_on, keep_going).map_err(text)?;
        let mut goes_on = vec![0; tracks];
        for t in (0..tracks).filter(|t| active[*t] != 0) {
            let next = answers[from[t] as usize];
            goes_on[t] = u32::from(keep_going || next != to[t]);
            to[t] = next;
        }
        check_equal(&read(&step.to)?, &to).map_err(|e| format!("round {round}, to: {e}"))?;
        check_equal(&read(&step.active)?, &goes_on).map_err(|e| format!("round {round}, active: {e}"))?;
    }
    Ok(())
}

fn pixels_outside_stop(device: &Device) -> Verdict {
    let mut table = LookupTable::new(device, 3).map_err(text)?;
    let (from, active) = (list(device, &[3, 2, UNKNOWN, 1]), list(device, &[1, 1, 1, 0]));
    let asked = table.ask(&from, &active).map_err(text)?;
    check_equal(&read(&asked.count)?, &[1])?;
    check_equal(&read(&asked.pixels)?[..1], &[2])?;
    table.answer(&asked, &list(device, &[9, 9, 9, 9])).map_err(text)?;
    let step = table.follow(&from, &list(device, &[4, 5, 6, 7]), &active, false).map_err(text)?;
    check_equal(&read(&step.to)?, &[4, 9, 6, 7])?;
    check_equal(&read(&step.active)?, &[0, 1, 0, 0])?;
    // A pixel without an answer: the track stops.
    let all = list(device, &[1; 4]);
    let step = table.follow(&list(device, &[0, 2, 1, 2]), &list(device, &[1, 9, 3, 0]), &all, false);
    let step = step.map_err(text)?;
    check_equal(&read(&step.to)?, &[1, 9, 3, 9])?;
    check_equal(&read(&step.active)?, &[0, 0, 0, 1])
}

/// Tracks at pixels of their own, so that the list is as long as can be.
fn every_track_asks(device: &Device) -> Verdict {
    let pixels: Vec<u32> = (0..1300).collect();
    let (from, all) = (list(device, &pixels), list(device, &[1; 1300]));
    let mut table = LookupTable::new(device, 1300).map_err(text)?;
    let asked = table.ask(&from, &all).map_err(text)?;
    check_equal(&read(&asked.count)?, &[1300])?;
    let answers: Vec<u32> = read(&asked.pixels)?.iter().map(|pixel| pixel * 2 + 1).collect();
    table.answer(&asked, &list(device, &answers)).map_err(text)?;
    let step = table.follow(&from, &list(device, &[UNKNOWN; 1300]), &all, false).map_err(text)?;
    check_equal(&read(&step.to)?, &pixels.iter().map(|pixel| pixel * 2 + 1).collect::<Vec<_>>())
}

/// A table that fills its memory has nothing behind it.
fn the_pixel_behind_the_last(device: &Device) -> Verdict {
    let mut table = LookupTable::new(device, 4).map_err(text)?;
    let (behind, active) = (list(device, &[4]), list(device, &[1]));
    let asked = Asked { pixels: behind.clone(), count: list(device, &[1]) };
    table.answer(&asked, &list(device, &[8])).map_err(text)?;
    let step = table.follow(&behind, &list(device, &[3]), &active, false).map_err(text)?;
    check_equal(&read(&step.to)?, &[3])?;
    check_equal(&read(&step.active)?, &[0])?;
    check_equal(&read(&table.ask(&behind, &active).map_err(text)?.count)?, &[0])
}

fn asked_and_not_answered(device: &Device) -> Verdict {
    let mut table = LookupTable::new(device, 4).map_err(text)?;
    let (from, all) = (list(device, &[2, 1]), list(device, &[1, 1]));
    check_equal(&read(&table.ask(&from, &all).map_err(text)?.count)?, &[2])?;
    let step = table.follow(&from, &list(device, &[5, 6]), &all, true).map_err(text)?;
    check_equal(&read(&step.to)?, &[5, 6])?;
    check_equal(&read(&step.active)?, &[0, 0])
}

fn behind_the_count(device: &Device) -> Verdict {
    let mut table = LookupTable::new(device, 4).map_err(text)?;
    let asked = Asked { pixels: list(device, &[2, 0, 1]), count: list(device, &[1]) };
    table.answer(&asked, &list(device, &[8, 8, 8])).map_err(text)?;
    let all = list(device, &[1; 3]);
    let rest = table.ask(&list(device, &[2, 1, 0]), &all).map_err(text)?;
    let count = read(&rest.count)?[0];
    check_equal(&[count], &[2])?;
    let mut pixels = read(&rest.pixels)?[..2].to_vec();
    pixels.sort_unstable();
    check_equal(&pixels, &[0, 1])
}

fn arguments(device: &Device) -> Verdict {
    expect_error(LookupTable::new(&Device::Cpu, 1 << 31), "`pixels` must be below 2^31")?;
    let mut table = LookupTable::new(device, 5).map_err(text)?;
    check_equal(&[table.pixels()], &[5])?;
    let (two, three) = (list(device, &[1, 2]), list(device, &[1, 2, 3]));
    let square = Tensor::zeros::<u32>(device, &[1, 2]);
    let floats = Tensor::zeros::<f32>(device, &[2]);
    expect_error(table.ask(&square, &two), "`pixels` must be [tracks], fewer than 2^31, got [1, 2]")?;
    expect_error(table.ask(&two, &three), "`active` must be [2], got [3]")?;
    expect_error(table.ask(&two, &floats), "`active` must hold u32, got f32")?;
    let asked = table.ask(&two, &two).map_err(text)?;
    expect_error(table.answer(&asked, &three), "`answers` must be [2], got [3]")?;
    let odd = Asked { count: two.clone(), ..asked };
    expect_error(table.answer(&odd, &two), "`asked.count` must be [1], got [2]")?;
    let followed = |from: &Tensor, to: &Tensor, active: &Tensor| -> Result<_, OpError> {
        table.follow(from, to, active, false)
    };
    expect_error(followed(&two, &three, &two), "`to` must be [2], got [3]")?;
    expect_error(followed(&two, &two, &three), "`active` must be [2], got [3]")?;
    expect_error(followed(&floats, &two, &two), "`from` must hold u32, got f32")
}
