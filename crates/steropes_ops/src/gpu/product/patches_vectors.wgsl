@group(0) @binding(0) var<storage, read> x: array<Elem4>;
// Elements step.k + j and the next three; zeros outside. ONE_TAP: the whole step lies in one segment.
fn row_values(row: Row, step: Step, j: u32) -> Elem4 {
    if (ONE_TAP) {
        if (step.k >= params.depth || !is_inside(row, step)) {
            return Elem4();
        }
        return floored(x[(row.at + step.at + j) / 4u]);
    }
    let own = step_of(step.k + j);
    if (own.k >= params.depth || !is_inside(row, own)) {
        return Elem4();
    }
    return floored(x[(row.at + own.at) / 4u]);
}
