//! Plain loops: the lists are short beside the searches between them.

use super::UNKNOWN;

pub(super) fn ask(known: &mut [u32], pixels: &[u32], active: &[u32]) -> Vec<u32> {
    let unknown = |pixel: &u32| known.get(*pixel as usize) == Some(&UNKNOWN);
    let asking = pixels.iter().zip(active).filter(|(_, active)| **active != 0).map(|(pixel, _)| *pixel);
    let mut asked: Vec<u32> = asking.filter(unknown).collect();
    // Sorted, so that neighbours of a search are neighbours in the photo.
    asked.sort_unstable();
    asked.dedup();
    asked
}

pub(super) fn answer(known: &mut [u32], asked: &[u32], answers: &[u32]) {
    for (pixel, answer) in asked.iter().zip(answers) {
        if let Some(known) = known.get_mut(*pixel as usize) {
            *known = *answer;
        }
    }
}

pub(super) fn follow(
    known: &[u32],
    from: &[u32],
    to: &[u32],
    active: &[u32],
    keep_going: bool,
) -> (Vec<u32>, Vec<u32>) {
    let step = |((from, to), active): ((&u32, &u32), &u32)| {
        if *active == 0 {
            return (*to, 0);
        }
        match known.get(*from as usize) {
            None | Some(&UNKNOWN) => (*to, 0),
            Some(next) => (*next, u32::from(keep_going || next != to)),
        }
    };
    from.iter().zip(to).zip(active).map(step).unzip()
}
