// Left rows are the rows of a matrix.
struct Row { at: u32 }
struct Step { k: u32 }

fn row_of(m: u32) -> Row {
    return Row(params.x_shift + min(m, params.rows - 1u) * params.depth);
}

fn step_of(k: u32) -> Step {
    return Step(k);
}

// Elements step.k + j and the next three; zeros behind the end.
fn row_values(row: Row, step: Step, j: u32) -> Elem4 {
    let k = step.k + j;
    if (DEPTH_PADDED && k >= params.depth) {
        return Elem4();
    }
    return x4(row.at + k, params.depth - k);
}
