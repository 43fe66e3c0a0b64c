'use strict';
(() => {
  const $ = id => document.getElementById(id);
  const {keys, texts: said, rows: packed} = JSON.parse($('data').textContent);
  // a text stands once, and its place, in brackets, wherever it is meant
  const raw = packed.map(values => values.map(value => Array.isArray(value) ? said[value[0]] : value));
  const body = $('rows'), form = $('filters');
  // where scripts run, what stands in a noscript element is text: its rows are made when they come into view, since a
  // browser takes a second to read and lay out thousands
  const made = [...body.rows], lines = $('later').textContent.trim().split('\n').slice(1, -1), first = made.length,
    mould = document.createElement('template');
  const rows = raw.map((values, i) => {
    const row = Object.fromEntries(keys.map((key, k) => [key, values[k]]));
    row.i = i;
    return row;
  });
  function line(row) {
    if (!made[row.i]) {
      mould.innerHTML = lines[row.i - first];
      made[row.i] = mould.content.firstChild;
    }
    return made[row.i];
  }
  const facets = ['task', 'dataset', 'method', 'pair', 'rows', 'verified'];
  const fixed = {
    rows: [['', 'all'], ['ours', 'with a number of ours'], ['both', 'ours beside a paper’s'], ['papers', 'papers alone']],
    verified: [['', 'all'], ['yes', '✓ read in a document'], ['no', '† from memory']]
  };
  const tests = {
    rows: {ours: r => r.our_score !== null, both: r => r.our_score !== null && r.paper_score !== null,
           papers: r => r.our_score === null},
    verified: {yes: r => r.verified === true, no: r => r.verified === false}
  };
  const collator = new Intl.Collator('en', {numeric: true, sensitivity: 'base'});
  const state = {q: '', sort: '', x: 'parameters', group: ''};
  for (const name of facets) state[name] = '';
  let shown = rows, points = [], at = -1, texts = null;

  // ---- state in the address, so that a view can be linked to
  function readAddress() {
    let given;
    try { given = new URLSearchParams(location.hash.slice(1)); } catch { given = new URLSearchParams(); }
    for (const key of Object.keys(state)) state[key] = given.get(key) || (key === 'x' ? 'parameters' : '');
    if (state.x !== 'latency') state.x = 'parameters';
  }
  function writeAddress() {
    const parts = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) if (value && !(key === 'x' && value === 'parameters')) parts.set(key, value);
    const hash = parts.toString();
    try { history.replaceState(null, '', hash ? '#' + hash : location.pathname + location.search); } catch { /* a sandbox */ }
  }

  // ---- filters
  const passes = (row, name) => !state[name] || (tests[name] ? (tests[name][state[name]] || (() => false))(row)
                                                             : row[name] === state[name]);
  function words() { return state.q.toLowerCase().split(/\s+/).filter(Boolean); }
  function hasWords(row, wanted) {
    if (!wanted.length) return true;
    if (!texts) texts = raw.map(values => values.filter(value => value !== null).join(' ').toLowerCase());
    return wanted.every(word => texts[row.i].includes(word));
  }
  function fillSelects(found) {
    for (const name of facets) {
      const select = form.elements[name], counts = new Map();
      for (const row of found) if (facets.every(other => other === name || passes(row, other))) {
        if (fixed[name]) {
          for (const [value] of fixed[name]) if (!value || tests[name][value](row)) counts.set(value, (counts.get(value) || 0) + 1);
        } else if (row[name] !== null) counts.set(row[name], (counts.get(row[name]) || 0) + 1);
      }
      let options = fixed[name];
      if (!options) {
        options = [...counts.keys()].sort(collator.compare).map(value => [value, value]);
        options.unshift(['', 'all']);
      }
      if (state[name] && !options.some(([value]) => value === state[name])) options = [...options, [state[name], state[name]]];
      select.replaceChildren(...options.map(([value, label]) => {
        const n = counts.get(value);
        const option = new Option(value ? `${label} (${n || 0})` : label, value);
        return option;
      }));
      select.value = state[name];
    }
  }

  // ---- the table
  const cols = [...document.querySelectorAll('col')], heads = [...document.querySelectorAll('thead th')];
  const widths = cols.map(col => parseInt(col.style.width, 10)), always = new Set(['label', 'pair', 'dataset', 'paper_score', 'our_score']);
  let hidden = '';
  // columns without a value in any row that is shown make way for the others
  function hideEmpty() {
    const empty = heads.map((th, k) => !always.has(th.dataset.key) && shown.length > 0 &&
      shown.every(row => row[th.dataset.key] === null) ? k + 1 : 0).filter(Boolean);
    if (empty.join() === hidden) return;
    hidden = empty.join();
    $('hide').textContent = empty.map(k => `col:nth-child(${k}),th:nth-child(${k}),td:nth-child(${k})`).join() + (hidden && '{display:none}');
    body.parentNode.style.setProperty('--w', widths.reduce((sum, width, k) => empty.includes(k + 1) ? sum : sum + width, 0) + 'px');
  }
  function compareRows(key, down) {
    return (a, b) => {
      const x = a[key], y = b[key];
      if (x === null || y === null) return x === y ? a.i - b.i : x === null ? 1 : -1;  // empty cells last, either way
      if (typeof x !== typeof y) return typeof x === 'number' ? -1 : 1;  // and texts, such as "1 to 5", after numbers
      const order = typeof x === 'number' ? x - y : collator.compare(String(x), String(y));
      return (down ? -order : order) || a.i - b.i;
    };
  }
  const CHUNK = 60;
  let laid = 0;
  function reveal(count) {
    const next = shown.slice(laid, Math.max(laid, count));
    body.append(...next.map(line));
    laid += next.length;
  }
  const near = new IntersectionObserver(entries => {
    if (entries.some(entry => entry.isIntersecting) && laid < shown.length) {
      reveal(laid + CHUNK);
      near.unobserve($('more'));  // looks again, should the end still be near
      near.observe($('more'));
    }
  }, {root: $('scroll'), rootMargin: '900px'});
  addEventListener('beforeprint', () => reveal(Infinity));
  function update() {
    const wanted = words(), found = wanted.length ? rows.filter(row => hasWords(row, wanted)) : rows;
    fillSelects(found);
    form.elements.q.value = state.q;
    const down = state.sort.startsWith('-'), key = down ? state.sort.slice(1) : state.sort;
    const sorted = keys.includes(key) ? [...rows].sort(compareRows(key, down)) : rows, kept = new Set(found);
    shown = sorted.filter(row => kept.has(row) && facets.every(name => passes(row, name)));
    const start = shown.slice(0, CHUNK).map(line);
    if (body.rows.length !== start.length || start.some((tr, k) => tr !== body.rows[k])) {
      body.replaceChildren(...start);
      $('scroll').scrollTop = 0;
    }
    laid = start.length;
    for (const th of heads) {
      if (state.sort && th.dataset.key === key) th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    }
    const ours = shown.filter(row => row.our_score !== null).length;
    $('count').textContent = `${shown.length} of ${rows.length} rows, ${ours} with a number of ours`;
    $('empty').hidden = shown.length > 0;
    $('reset').disabled = !state.q && !state.sort && facets.every(name => !state[name]);
    hideEmpty();
    draw();
    writeAddress();
  }

  // ---- the plot
  const NS = 'http://www.w3.org/2000/svg';
  function svg(name, attributes, text) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const short = value => value >= 1e9 ? +(value / 1e9).toPrecision(3) + ' G' : value >= 1e6 ? +(value / 1e6).toPrecision(3) + ' M'
    : value >= 1e3 ? +(value / 1e3).toPrecision(3) + ' k' : String(+value.toPrecision(3));
  function ticks(low, high, wanted) {
    const step0 = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(step0));
    const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= step0);
    const found = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(+v.toPrecision(12));
    return found;
  }
  function logTicks(low, high) {
    for (const marks of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const found = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
        for (const m of marks) { const v = m * 10 ** e; if (v >= low && v <= high) found.push(+v.toPrecision(6)); }
      if (found.length >= 4 || marks.length > 9) return found;
    }
  }
  const cost = row => state.x === 'latency' ? row.latency_ms : row.parameters;
  function draw() {
    const groups = new Map();
    for (const row of shown) {
      if (!(cost(row) > 0)) continue;
      const scores = [['p', row.paper_score], ['o', row.our_score]].filter(([, score]) => typeof score === 'number');
      if (!scores.length) continue;
      if (!groups.has(row.group)) groups.set(row.group, []);
      for (const [kind, score] of scores) groups.get(row.group).push({row, kind, score, cost: cost(row)});
    }
    const anyCost = axis => rows.some(row => (axis === 'latency' ? row.latency_ms : row.parameters) > 0);
    $('plot').hidden = !anyCost('parameters') && !anyCost('latency');
    const names = [...groups.keys()].sort((a, b) => groups.get(b).length - groups.get(a).length || collator.compare(a, b));
    const group = names.includes(state.group) ? state.group : names[0];
    $('group').replaceChildren(...names.map(name => new Option(`${name} (${groups.get(name).length})`, name)));
    $('group').hidden = !names.length;
    if (group !== undefined) $('group').value = group;
    $('axis').value = state.x;
    const place = $('drawing');
    at = -1;
    points = (groups.get(group) || []).sort((a, b) => a.cost - b.cost || a.score - b.score);
    if (!points.length) {
      place.replaceChildren();
      $('readout').textContent = $('plot').hidden ? '' : `No row that fits the filters has a score and ${state.x === 'latency' ? 'a latency' : 'a number of parameters'}.`;
      return;
    }
    const width = Math.max(280, place.clientWidth || 800), height = width < 560 ? 260 : 330;
    const left = 46, right = 14, top = 12, bottom = 40;
    let [x0, x1] = [Math.min(...points.map(p => p.cost)), Math.max(...points.map(p => p.cost))];
    let [y0, y1] = [Math.min(...points.map(p => p.score)), Math.max(...points.map(p => p.score))];
    if (x1 / x0 < 1.5) { x0 /= 1.6; x1 *= 1.6; } else { const f = (x1 / x0) ** .04; x0 /= f; x1 *= f; }
    const room = (y1 - y0) * .06 || 1; y0 -= room; y1 += room;
    const X = v => left + (Math.log(v / x0) / Math.log(x1 / x0)) * (width - left - right);
    const Y = v => top + (1 - (v - y0) / (y1 - y0)) * (height - top - bottom);
    const unit = state.x === 'latency' ? 'milliseconds for one image (median, logarithmic)' : 'parameters of the student (logarithmic)';
    const picture = svg('svg', {viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: 'application',
      'aria-label': `${group} against ${unit}: ${points.length} points. Arrow keys go from point to point, Enter to its row.`});
    for (const v of ticks(y0, y1, 5)) picture.append(
      svg('line', {class: 'grid', x1: left, x2: width - right, y1: Y(v), y2: Y(v)}),
      svg('text', {x: left - 7, y: Y(v) + 4, 'text-anchor': 'end'}, String(v)));
    let free = -1e9;
    for (const v of logTicks(x0, x1)) {
      picture.append(svg('line', {class: 'grid', x1: X(v), x2: X(v), y1: top, y2: height - bottom}));
      if (X(v) - free > 44) { picture.append(svg('text', {x: X(v), y: height - bottom + 16, 'text-anchor': 'middle'}, short(v))); free = X(v); }
    }
    picture.append(svg('text', {x: left + (width - left - right) / 2, y: height - 6, 'text-anchor': 'middle'}, unit));
    for (const kind of ['p', 'o']) points.forEach((point, i) => {
      if (point.kind !== kind) return;
      const memory = kind === 'p' && point.row.verified === false ? ' memory' : '';
      picture.append(svg('circle', {class: kind + memory, cx: X(point.cost).toFixed(1), cy: Y(point.score).toFixed(1), r: kind === 'o' ? 5.5 : 4, 'data-i': i}));
    });
    const ring = svg('circle', {class: 'ring', r: 9, visibility: 'hidden', 'pointer-events': 'none'});
    picture.append(ring);
    const hint = `${points.length} points. Point at one, or use the arrow keys, to see what it is; select it to go to its row.`;
    $('readout').textContent = hint;
    const show = i => {
      at = i;
      const {row, kind, score, cost: value} = points[i];
      ring.setAttribute('cx', X(value)); ring.setAttribute('cy', Y(score)); ring.setAttribute('visibility', 'visible');
      const source = kind === 'o' ? `ours, ${row.how}` : `paper, ${row.verified ? 'read in a document' : 'from memory'}`;
      const strong = document.createElement('b');
      strong.textContent = `${row.label}: ${+score.toFixed(2)}`;
      $('readout').replaceChildren(strong, ` (${source}). ${row.pair || ''}, ${row.group}; ` +
        `${state.x === 'latency' ? +value.toPrecision(3) + ' ms' : short(value) + ' parameters'}${row.own_network ? '' : ' (the zoo’s network of this name)'}.`);
    };
    const go = i => {
      const tr = line(points[i].row);
      for (const other of made) if (other) other.classList.remove('found');
      tr.classList.add('found');
      reveal(shown.indexOf(points[i].row) + 20);
      tr.scrollIntoView({block: 'center'});
    };
    picture.addEventListener('pointermove', event => {
      const box = picture.getBoundingClientRect(), scale = width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      let best = -1, least = 18 * 18;
      points.forEach((point, i) => {
        const d = (X(point.cost) - x) ** 2 + (Y(point.score) - y) ** 2 - (point.kind === 'o' ? 1 : 0);
        if (d < least) { least = d; best = i; }
      });
      if (best >= 0 && best !== at) show(best);
    });
    picture.addEventListener('click', () => { if (at >= 0) go(at); });
    picture.addEventListener('keydown', event => {
      const move = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
      if (move) { show(at < 0 ? (move > 0 ? 0 : points.length - 1) : (at + move + points.length) % points.length); event.preventDefault(); }
      else if (event.key === 'Home') { show(0); event.preventDefault(); }
      else if (event.key === 'End') { show(points.length - 1); event.preventDefault(); }
      else if (event.key === 'Enter' && at >= 0) go(at);
    });
    place.replaceChildren(picture);
  }

  // ---- events
  let timer;
  form.addEventListener('input', event => {
    state[event.target.name] = event.target.value;
    clearTimeout(timer);
    timer = setTimeout(update, event.target.name === 'q' ? 120 : 0);
  });
  form.addEventListener('submit', event => event.preventDefault());
  form.addEventListener('reset', event => {
    event.preventDefault();
    for (const name of [...facets, 'q', 'sort', 'group']) state[name] = '';
    update();
    form.elements.q.focus();
  });
  $('group').addEventListener('change', event => { state.group = event.target.value; draw(); writeAddress(); });
  $('axis').addEventListener('change', event => { state.x = event.target.value; draw(); writeAddress(); });
  for (const th of heads) th.addEventListener('click', () => {
    const key = th.dataset.key, number = th.classList.contains('n');
    const first = number ? '-' + key : key, second = number ? key : '-' + key;
    state.sort = state.sort === first ? second : state.sort === second ? '' : first;
    update();
  });
  addEventListener('hashchange', () => { readAddress(); update(); });
  let wide = innerWidth;
  addEventListener('resize', () => { if (innerWidth !== wide) { wide = innerWidth; draw(); } });
  form.hidden = false;
  $('plot').hidden = false;
  readAddress();
  update();
  near.observe($('more'));
  // how long it took, in milliseconds since the page was asked for; read by tests
  const note = name => { document.documentElement.dataset[name] = Math.round(performance.now()); };
  note('ready');
  requestAnimationFrame(() => requestAnimationFrame(() => note('painted')));
})();
