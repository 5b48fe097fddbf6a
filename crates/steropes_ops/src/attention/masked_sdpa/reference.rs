//! f64 oracles, from the formulas.

/// Extents `[batch, queries, keys, heads, kv_heads, head_dim]`.
pub(crate) type Extents = [usize; 6];

/// Scores after the mask: the scale, and what is added for `(batch, head, query, key)`, minus infinity for what is masked.
pub(crate) struct Scores<'a> {
    pub(crate) scale: f64,
    pub(crate) mask: &'a dyn Fn(usize, usize, usize, usize) -> f64,
}

/// The weights `[batch, heads, queries, keys]`, and the logarithms of their sums `[batch, heads, queries]`.
pub(crate) fn weights(q: &[f64], k: &[f64], scores: &Scores<'_>, extents: Extents) -> (Vec<f64>, Vec<f64>) {
    let [batch, queries, keys, heads, kv_heads, d] = extents;
    let (mut weights, mut sums) = (Vec::new(), Vec::new());
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..queries {
                let query = &q[((b * queries + i) * heads + h) * d..][..d];
                let row: Vec<f64> = (0..keys)
                    .map(|j| {
                        let kv = h / (heads / kv_heads);
                        let key = &k[((b * keys + j) * kv_heads + kv) * d..][..d];
                        let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                        scores.scale * dot + (scores.mask)(b, h, i, j)
                    })
                    .collect();
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if largest == f64::NEG_INFINITY {
                    weights.extend(row.iter().map(|_| 0.0));
                    sums.push(f64::NEG_INFINITY);
                    continue;
                }
                let total: f64 = row.iter().map(|s| (s - largest).exp()).sum();
                weights.extend(row.iter().map(|s| (s - largest).exp() / total));
                sums.push(largest + total.ln());
            }
        }
    }
    (weights, sums)
}

/// The weights times the values.
pub(crate) fn attend(weights: &[f64], v: &[f64], extents: Extents) -> Vec<f64> {
    let [batch, queries, keys, heads, kv_heads, d] = extents;
    let mut out = vec![0.0; batch * queries * heads * d];
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..queries {
                for j in 0..keys {
                    let w = weights[((b * heads + h) * queries + i) * keys + j];
                    for c in 0..d {
                        out[((b * queries + i) * heads + h) * d + c] +=
                            w * v[((b * keys + j) * kv_heads + h / (heads / kv_heads)) * d + c];
                    }
                }
            }
        }
    }
    out
}

/// The gradients with respect to `q`, `k` and `v` by the chain rule through the whole matrix of weights.
pub(crate) fn backward(
    [q, k, v]: [&[f64]; 3],
    gradient: &[f64],
    scores: &Scores<'_>,
    extents: Extents,
) -> [Vec<f64>; 3] {
    let [batch, queries, keys, heads, kv_heads, d] = extents;
    let (weights, _) = weights(q, k, scores, extents);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..queries {
                let query = ((b * queries + i) * heads + h) * d;
                let key = |j: usize| ((b * keys + j) * kv_heads + h / (heads / kv_heads)) * d;
                let row = &weights[((b * heads + h) * queries + i) * keys..][..keys];
                let of_weight =
                    |j: usize| -> f64 { (0..d).map(|c| gradient[query + c] * v[key(j) + c]).sum() };
                let of_weights: Vec<f64> = (0..keys).map(of_weight).collect();
                let mean: f64 = row.iter().zip(&of_weights).map(|(w, g)| w * g).sum();
                for j in 0..keys {
                    let of_score = row[j] * (of_weights[j] - mean) * scores.scale;
                    for c in 0..d {
                        dv[key(j) + c] += row[j] * gradient[query + c];
                        dq[query + c] += of_score * k[key(j) + c];
                        dk[key(j) + c] += of_score * q[query + c];
                    }
                }
            }
        }
    }
    [dq, dk, dv]
}

/// The derivative of `sum(gradient * attend)` with respect to each of `q`, `k` and `v`, by central differences.
pub(crate) fn differences(
    inputs: [&[f64]; 3],
    gradient: &[f64],
    scores: &Scores<'_>,
    extents: Extents,
) -> [Vec<f64>; 3] {
    let loss = |inputs: &[Vec<f64>; 3]| -> f64 {
        let (weights, _) = weights(&inputs[0], &inputs[1], scores, extents);
        attend(&weights, &inputs[2], extents).iter().zip(gradient).map(|(y, g)| y * g).sum()
    };
    let mut at = inputs.map(<[f64]>::to_vec);
    let step = 1e-5;
    [0, 1, 2].map(|which| {
        (0..at[which].len())
            .map(|i| {
                let x = at[which][i];
                at[which][i] = x + step;
                let above = loss(&at);
                at[which][i] = x - step;
                let below = loss(&at);
                at[which][i] = x;
                (above - below) / (2.0 * step)
            })
            .collect()
    })
}
