"""Pictures of runs: scores over epochs, and scores of several methods side by side."""
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

# dark enough on white, and told apart in grey and by colour-blind readers (Okabe and Ito, 2008)
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
NEUTRAL = '#555555'


def _new_figure(width: float, height: float):
    # the object interface: no global state, no window, and a backend chosen elsewhere stays as it is
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure, path: str | os.PathLike) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def plot_curves(curves: Mapping[str, Sequence[Sequence[dict]]], path: str | os.PathLike, *, metric: str = 'top1',
                ylabel: str = 'test accuracy (%)', title: str = '', reference: str | None = None,
                zoom: float | None = None) -> Path:
    """A score after each epoch: one line a network, the mean of its runs, in a band from the worst to the best run.

    Args:
        curves: name to runs; a run is the ``scores`` of a ``record.json``, dicts with ``epoch`` and ``metric``.
        path: of the PNG.
        metric: which score.
        ylabel, title: texts.
        reference: the name of a curve drawn dashed and grey, such as the teacher's; its last value is drawn on.
        zoom: the axis begins this far below the worst run's last value, so that the ends of the curves can be told apart;
            None shows all of them.

    Returns:
        The path.

    Raises:
        ValueError: if no run has that score.
    """
    if not any(metric in score for runs in curves.values() for scores in runs for score in scores):
        raise ValueError(f'No run has a score {metric!r}, so there is nothing to draw.')
    figure, axes = _new_figure(7.0, 4.2)
    end = max(score['epoch'] for runs in curves.values() for scores in runs for score in scores)
    lasts = []
    colours = iter(COLOURS * (1 + len(curves) // len(COLOURS)))
    for name, runs in curves.items():
        by_epoch: dict[int, list[float]] = {}
        for scores in runs:
            for score in scores:
                if metric in score:
                    by_epoch.setdefault(score['epoch'], []).append(score[metric])
        epochs = sorted(by_epoch)
        if not epochs:
            continue
        mean = [float(np.mean(by_epoch[e])) for e in epochs]
        lasts += by_epoch[epochs[-1]]
        plain = name == reference
        colour = NEUTRAL if plain else next(colours)
        axes.plot(epochs, mean, color=colour, linestyle='--' if plain else '-', marker='o', markersize=4,
                  linewidth=1.5 if plain else 2, label=f'{name}: {mean[-1]:.1f}')
        if plain and epochs[-1] < end:
            axes.plot([epochs[-1], end], [mean[-1]] * 2, color=colour, linestyle=':', linewidth=1)
        if len(runs) > 1:
            axes.fill_between(epochs, [min(by_epoch[e]) for e in epochs], [max(by_epoch[e]) for e in epochs],
                              color=colour, alpha=0.15, linewidth=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel='epoch', ylabel=ylabel, title=title)
    if zoom is not None:
        axes.set_ylim(bottom=max(min(lasts) - zoom, axes.get_ylim()[0]))
    axes.grid(color='#dddddd', linewidth=0.7)
    banded = any(len(runs) > 1 for runs in curves.values())
    axes.legend(title='last epoch' + (' (band: worst to best run)' if banded else ''), frameon=False, loc='lower right')
    return _save(figure, path)


def plot_bars(names: Sequence[str], means: Sequence[float], spreads: Sequence[float | None], path: str | os.PathLike, *,
              baseline: float | None = None, baseline_name: str = 'none', teacher: float | None = None,
              points: Sequence[Sequence[float]] | None = None, xlabel: str = 'top-1 accuracy (%), last epoch',
              title: str = '') -> Path:
    """Horizontal bars, the first on top, on an axis zoomed to where the values lie.

    Args:
        names, means, spreads: of the bars; a spread (standard deviation) of None is not drawn.
        path: of the PNG.
        baseline: a vertical line, such as the student alone; bars below it are grey.
        baseline_name: its text.
        teacher: a second, dotted line; left out where it lies so far off that the bars could not be told apart.
        points: the single runs' values of each bar, drawn as dots.
        xlabel, title: texts.

    Returns:
        The path.

    Raises:
        ValueError: without bars, or for lengths that differ.
    """
    if not names or not len(names) == len(means) == len(spreads):
        raise ValueError(f'plot_bars needs as many means and spreads as names, at least one; got {len(names)} names, '
                         f'{len(means)} means and {len(spreads)} spreads.')
    figure, axes = _new_figure(7.5, 1.5 + 0.3 * len(names))
    rows = np.arange(len(names))[::-1]
    below = [baseline is not None and mean < baseline for mean in means]
    axes.barh(rows, means, height=0.65, color=['#b5b5b5' if b else COLOURS[0] for b in below],
              xerr=[s or 0.0 for s in spreads] if any(spreads) else None,
              error_kw=dict(ecolor='black', elinewidth=1, capsize=2.5))
    values = [*means, *(m + (s or 0) * sign for m, s in zip(means, spreads) for sign in (-1, 1))]
    for row, dots in zip(rows, points or []):
        axes.plot(dots, [row] * len(dots), '.', color='black', markersize=3, alpha=0.55)
        values += dots
    if baseline is not None:
        values.append(baseline)
        axes.axvline(baseline, color=COLOURS[1], linewidth=1.5, label=f'{baseline_name}: {baseline:.2f}')
    low, high = min(values), max(values)
    span = max(high - low, 0.5)
    if teacher is not None and abs(teacher - (low + high) / 2) <= 2 * span:
        axes.axvline(teacher, color=NEUTRAL, linestyle=':', linewidth=1.5, label=f'teacher: {teacher:.2f}')
        low, high = min(low, teacher), max(high, teacher)
    elif teacher is not None:
        axes.plot([], [], ' ', label=f'teacher: {teacher:.2f} (off the axis)')
    span = max(high - low, 0.5)
    left = max(low - 0.25 * span, 0.0)
    right = high + 0.18 * span
    axes.set_xlim(left, right)
    for row, mean in zip(rows, means):
        axes.text(left + 0.008 * (right - left), row, f'{mean:.2f}', va='center', ha='left', fontsize=8, color='white',
                  bbox=dict(boxstyle='round,pad=0.15', facecolor='black', alpha=0.55, linewidth=0))
    axes.set_yticks(rows, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis='x', color='#dddddd', linewidth=0.7)
    axes.set_xlabel(f'{xlabel} (axis begins at {left:.1f})' if left > 0 else xlabel)
    if title:
        figure.suptitle(textwrap.fill(title, 90), fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(frameon=False, loc='outside lower center', ncols=2, fontsize=9)
    return _save(figure, path)
