"""The papers' results and our measured ones, as data, and the code that lays them side by side.

``papers/<slug>.yml`` holds what papers and their authors' documents report, each number with its source and
``verified`` (read in a document, or from memory); ``measured/*.yml|json`` holds what our runs wrote. The two never
share a column: a row knows its ``origin``, and rendering refuses a mixture.

>>> from zoo.tables import paper_rows, to_markdown
>>> rows = paper_rows(dataset='CIFAR-100', method='dkd', teacher='resnet32x4', student='resnet8x4')
>>> rows[0]['score'], rows[0]['verified']
(76.32, True)
"""
from zoo.tables.comparison import COLUMNS, card_row, compare, measured_table_rows
from zoo.tables.page import comparison_html, write_report
from zoo.tables.readme import results_section
from zoo.tables.records import (
    TableError,
    load_paper_table,
    measured_rows,
    paper_rows,
    paper_table_names,
    validate_measured,
    validate_paper_table,
)
from zoo.tables.render import side_by_side, to_csv, to_markdown

__all__ = ['COLUMNS', 'TableError', 'card_row', 'compare', 'comparison_html', 'load_paper_table', 'measured_rows',
           'measured_table_rows', 'paper_rows', 'paper_table_names', 'results_section', 'side_by_side', 'to_csv',
           'to_markdown', 'validate_measured', 'validate_paper_table', 'write_report']
