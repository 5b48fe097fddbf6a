@group(0) @binding(0) var<storage, read> x: array<Elem>;
fn row_value(row: Row, k: u32) -> Elem {
    let step = step_of(k);
    if (k >= params.depth || !is_inside(row, step)) {
        return Elem();
    }
    return x[row.at + step.at];
}

// Elements step.k + j and the next three; zeros outside.
fn row_values(row: Row, step: Step, j: u32) -> Elem4 {
    let k = step.k + j;
    return floored(Elem4(row_value(row, k), row_value(row, k + 1u), row_value(row, k + 2u), row_value(row, k + 3u)));
}
