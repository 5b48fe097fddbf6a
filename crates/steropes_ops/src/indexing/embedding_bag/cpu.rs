//! Bags are shared among threads, each adding up its rows one after another. For the gradient entries are listed by row, and rows are
//! shared among threads, each adding up its entries in their order.

use super::{BagMode, EmbeddingBagOptions, Numbers};
use rayon::prelude::*;
use std::ops::Range;

fn entries<'a>(
    numbers: &'a Numbers<'_>,
    bag: usize,
    options: &'a EmbeddingBagOptions,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let all: Range<usize> = numbers.bounds[bag]..numbers.bounds[bag + 1];
    all.map(|entry| (entry, numbers.indices[entry] as usize))
        .filter(|(_, row)| Some(*row) != options.padding_idx)
}

pub(super) fn embedding_bag(
    weight: &[f32],
    width: usize,
    numbers: &Numbers<'_>,
    options: &EmbeddingBagOptions,
) -> Vec<f32> {
    let mut y = vec![0.0; (numbers.bounds.len() - 1) * width];
    y.par_chunks_mut(width.max(1)).enumerate().for_each(|(bag, y)| {
        let mut count = 0;
        for (entry, row) in entries(numbers, bag, options) {
            let row = &weight[row * width..][..width];
            let factor = numbers.factor(entry);
            match options.mode {
                BagMode::Max if count == 0 => y.copy_from_slice(row),
                BagMode::Max => y.iter_mut().zip(row).for_each(|(y, &x)| *y = if x > *y { x } else { *y }),
                _ => y.iter_mut().zip(row).for_each(|(y, x)| *y += factor * x),
            }
            count += 1;
        }
        if options.mode == BagMode::Mean && count > 0 {
            y.iter_mut().for_each(|y| *y /= count as f32);
        }
    });
    y
}

pub(super) fn weight_gradient(
    grad: &[f32],
    weight: &[f32],
    width: usize,
    numbers: &Numbers<'_>,
    options: &EmbeddingBagOptions,
) -> Vec<f32> {
    let mut gradient = vec![0.0; weight.len()];
    if gradient.is_empty() {
        return gradient;
    }
    let rows = weight.len() / width;
    // The entries of every row as (bag, entry, factor), in order.
    let mut lists = vec![Vec::new(); rows];
    for bag in 0..numbers.bounds.len() - 1 {
        let count = entries(numbers, bag, options).count();
        for (entry, row) in entries(numbers, bag, options) {
            let factor =
                if options.mode == BagMode::Mean { 1.0 / count as f32 } else { numbers.factor(entry) };
            lists[row].push((bag, entry, factor));
        }
    }
    let winners = match options.mode {
        BagMode::Max => winners(weight, width, numbers, options),
        _ => Vec::new(),
    };
    gradient.par_chunks_exact_mut(width).zip(&lists).for_each(|(gradient, list)| {
        for &(bag, entry, factor) in list {
            let grad = &grad[bag * width..][..width];
            if options.mode == BagMode::Max {
                let winners = &winners[bag * width..][..width];
                for ((own, grad), winner) in gradient.iter_mut().zip(grad).zip(winners) {
                    *own += if *winner == entry { *grad } else { 0.0 };
                }
            } else {
                gradient.iter_mut().zip(grad).for_each(|(own, grad)| *own += factor * grad);
            }
        }
    });
    gradient
}

/// The first entry of each bag with the largest value of each column.
fn winners(weight: &[f32], width: usize, numbers: &Numbers<'_>, options: &EmbeddingBagOptions) -> Vec<usize> {
    let mut winners = vec![usize::MAX; (numbers.bounds.len() - 1) * width];
    winners.par_chunks_mut(width).enumerate().for_each(|(bag, winners)| {
        for (entry, row) in entries(numbers, bag, options) {
            let row = &weight[row * width..][..width];
            for (c, winner) in winners.iter_mut().enumerate() {
                let best = numbers.indices.get(*winner).map(|&row| weight[row as usize * width + c]);
                if best.is_none_or(|best| row[c] > best) {
                    *winner = entry;
                }
            }
        }
    });
    winners
}

pub(super) fn factor_gradient(
    grad: &[f32],
    weight: &[f32],
    width: usize,
    numbers: &Numbers<'_>,
    options: &EmbeddingBagOptions,
) -> Vec<f32> {
    let mut gradient = vec![0.0; numbers.indices.len()];
    for bag in 0..numbers.bounds.len() - 1 {
        let grad = &grad[bag * width..][..width];
        for (entry, row) in entries(numbers, bag, options) {
            let row = &weight[row * width..][..width];
            gradient[entry] =
                grad.iter().zip(row).map(|(g, x)| f64::from(*g) * f64::from(*x)).sum::<f64>() as f32;
        }
    }
    gradient
}
