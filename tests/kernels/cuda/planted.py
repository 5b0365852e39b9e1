#!/usr/bin/env python3
"""tests/kernels/cuda/planted.py [--smoke] [--build FOLDER] [--jobs N] [NAME...]: checks that the tests of the
CUDA kernels find bugs in indexing.

For each row of BUGS it plants one bug in a copy of a file, compiles the objects that depend on it as the
release build does, links the test that should find it, and runs that on the emulation. A bug that the test
does not find fails, and so does a test that fails without a bug. NAME selects the rows whose name begins so.
All rows take some ten minutes, so they are run by hand, after a change to a kernel or to its test. `--smoke`
plants one bug in each kernel, with what is built, and is part of ctest.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
SECONDS = 300  # for one run of a test
TILES, ORDER = "kernels/cuda/attention_tiles.h", "kernels/cuda/warpgroup_order.h"
STAGED, UNIT, PLAIN = ("kernels/cuda/attention_staged.h", "kernels/cuda/attention_unit.h",
                       "kernels/cuda/attention_kernels.h")
PLAN, QKV, ROW, GEMM = ("kernels/cuda/attention_plan.cc", "kernels/cuda/qkv_kernels.h",
                        "kernels/cuda/row_kernels.h", "kernels/cuda/gemm_kernels.h")
DRAW, FEW = "kernels/cuda/draw_kernels.h", "kernels/cuda/gemm_few_kernels.h"
FUSED, FUSED_FILE = "cuda_fused_test", "kernels/cuda/fused_kernels.h"
QUANT, QUANT_FEW, TYPES = ("kernels/cuda/gemm_quant_kernels.h", "kernels/cuda/gemm_quant_few_kernels.h",
                           "kernels/cuda/quant_types.h")
ATTENTION, ROWS, DRAWS = "cuda_attention_test", "cuda_row_test", "cuda_draw_test"
QUANTIZED, WARPGROUPS = "cuda_quant_test", "cuda_warpgroup_test"
KV, QKV_EXPANDED = "kernels/cuda/kv_types.h", "kernels/cuda/qkv_expanded_kernels.h"

# Name, test that should find it, file, text that occurs once in it, replacement.
BUGS = [
    ("staged_key_matrices", ATTENTION, STAGED, "matrix / 2 * 8 + line, k * 16 + matrix % 2 * 8",
     "matrix % 2 * 8 + line, k * 16 + matrix / 2 * 8"),
    ("staged_value_matrices", ATTENTION, STAGED, "matrix % 2 * 8 + line, FirstDim() + n * 8 + matrix / 2 * 8",
     "matrix / 2 * 8 + line, FirstDim() + n * 8 + matrix % 2 * 8"),
    ("staged_token_of_chunk", ATTENTION, TILES, "chunk / kChunksOfToken % 8", "chunk / kChunksOfToken"),
    ("staged_last_group", ATTENTION, TILES, "token <= team_.last_token", "token < team_.last_token"),
    ("staged_first_group", ATTENTION, TILES, "token + 7 >= team_.first_token",
     "token >= team_.first_token"),
    ("staged_place_in_block", ATTENTION, TILES, "PlaneOffset(in_block, 0, D, 2",
     "PlaneOffset(token, 0, D, 2"),
    ("staged_values_are_keys", ATTENTION, STAGED, "matrix / 2 * 8) +\n                   Tiles::kValuesAt);",
     "matrix / 2 * 8));"),
    ("staged_wait", ATTENTION, TILES, "device::WaitCopies<1>()", "device::WaitCopies<2>()"),
    ("staged_spans", ATTENTION, STAGED, "tile == own_begin || tile % kSpanTokens == 0", "tile == own_begin"),
    ("staged_end_of_span", ATTENTION, STAGED, "next >= own_end || next % kSpanTokens == 0",
     "next >= own_end"),
    ("staged_team_differs", ATTENTION, STAGED, "tiles_.team().Differs(tile, next)",
     "view_.Differs(tile, next)"),
    ("staged_own_memory", ATTENTION, STAGED, "Unit() * kUnitBytes", "0"),
    ("staged_own_tiles", ATTENTION, STAGED, "tile >= own_begin && tile < own_end", "tile >= own_begin"),
    ("warpgroup_key_dims", WARPGROUPS, ORDER, "dim % 64 * 2", "dim % 64"),
    ("warpgroup_key_groups", WARPGROUPS, ORDER, "16, 16 * head_dim", "16, 8 * head_dim"),
    ("warpgroup_value_tokens", WARPGROUPS, ORDER, "step * 32 * head_dim", "step * 16 * head_dim"),
    ("warpgroup_value_dims", WARPGROUPS, ORDER, "1024, 16 * head_dim", "16, 16 * head_dim"),
    ("warpgroup_last_group", WARPGROUPS, ORDER, "last / 8 * 8 + 8", "last / 8 * 8"),
    ("warpgroup_blocks", WARPGROUPS, ORDER, "token - in_block + block_tokens", "token + block_tokens"),
    ("warpgroup_place_in_block", WARPGROUPS, TILES, "own.first % p_.kv.block_tokens", "0"),
    ("warpgroup_place_in_tile", WARPGROUPS, TILES, "own.first - tile", "0"),
    ("warpgroup_unseen", WARPGROUPS, TILES, "!team_.Sees(tile + token)", "false"),
    ("warpgroup_publish", WARPGROUPS, TILES, "    device::PublishShared();\n", ""),
    ("warpgroup_parity", WARPGROUPS, TILES, "if (values) parity_ ^= 1;", ""),
    ("warpgroup_own_values", WARPGROUPS, STAGED, "} else if (kWarpgroup || own) {", "} else if (own) {"),
    ("warpgroup_own_scores", WARPGROUPS, STAGED, "if (kWarpgroup || own) Score(s);", "if (own) Score(s);"),
    ("warpgroup_key_atoms", WARPGROUPS, ORDER, "dim / 64 * 1024", "dim / 64 * 512"),
    ("warpgroup_values_turned", WARPGROUPS, STAGED, "kHalf, true>(o_, p[k]", "kHalf, false>(o_, p[k]"),
    ("warpgroup_end", WARPGROUPS, STAGED, "    device::EndWarpgroupMma(s, q);\n", ""),
    ("warpgroup_early_factor", WARPGROUPS, STAGED, "    device::EndWarpgroupMma(o_, p);\n",
     "    p[0][0] = 0;\n    device::EndWarpgroupMma(o_, p);\n"),
    ("warpgroup_one_barrier", WARPGROUPS, TILES, "(values ? kBarrierBytes / 2 : 0)", "0"),
    ("warpgroup_begun", WARPGROUPS, TILES,
     "        device::BeginCopyBarrier(BarrierAt(true));\n      }\n      device::SyncThreads();\n",
     "        device::BeginCopyBarrier(BarrierAt(true));\n      }\n"),
    ("warpgroup_ended", WARPGROUPS, TILES, "      device::EndCopyBarrier(BarrierAt(true));\n", ""),
    ("warpgroup_expected", WARPGROUPS, TILES, "copied.count() * 2 * D", "copied.count() * D"),
    ("warpgroup_expected_first", WARPGROUPS, TILES, "    device::SyncWarp();\n", ""),
    ("unit_team_last", ATTENTION, UNIT, "    team.last_token = view.last_token;\n", ""),
    ("staged_store", ATTENTION, STAGED, "TotalAt(n, 2 * half + i)", "TotalAt(n, half + 2 * i)"),
    ("staged_query", ATTENTION, STAGED, "k * device::kWarp + device::Lane()) * 16",
     "k * device::kWarp + device::Lane() / 2) * 16"),
    ("staged_scores_of_part", ATTENTION, STAGED, "at(Part() * kScored + n, i)", "at(n, i)"),
    ("staged_tokens_of_part", ATTENTION, STAGED, "(Part() * kScored + n) * 8", "n * 8"),
    ("staged_scores_of_unit", ATTENTION, STAGED, "Unit() * kScoreBytes", "0"),
    ("staged_dims_of_part", ATTENTION, STAGED, "partial + 2 + FirstDim()", "partial + 2"),
    ("staged_totals_of_part", ATTENTION, STAGED, "(FirstDim() / 8 + n) * 4", "n * 4"),
    ("expand_copy_all", ATTENTION, TILES, "i + device::Lane() < kElements", "i + device::kWarp < kElements"),
    ("expand_place", ATTENTION, TILES, "copy + PlaneOffset(token, d, D",
     "copy + PlaneOffset(token, d / 2, D"),
    ("expand_scale", ATTENTION, TILES, "copy + ScaleOffset(token, d / kQuantBlock",
     "copy + ScaleOffset(token, 0"),
    ("expand_seen", ATTENTION, TILES, "if (team_.Sees(tile + token)) {", "if (tile + token >= 0) {"),
    ("expand_number", ATTENTION, TILES, "elements >> (16 * j)", "elements >> (16 * (j ^ 1))"),
    ("expand_released", ATTENTION, TILES, "        Expand(tile, values);\n        device::SyncThreads();\n",
     "      Expand(tile, values);\n"),
    ("expand_copy_place", ATTENTION, TILES, "plane + PlaneOffset(in_block, 0, D, 1",
     "plane + PlaneOffset(0, 0, D, 1"),
    ("expand_copy_scales", ATTENTION, TILES, "plane + ScaleOffset(in_block, 0", "plane + ScaleOffset(0, 0"),
    ("expand_copy_group", ATTENTION, TILES, "ScaleOffset(group * 8, 0", "ScaleOffset(group * 4, 0"),
    ("kv_pair", ATTENTION, KV, "(biased & 0xFF00u) << 8", "(biased & 0xFF00u) << 7"),
    ("kv_number", ATTENTION, KV, "(d % 2 * 16)", "0"),
    ("kv_scale_of_pair", ATTENTION, KV,
     "ScaleOffset(token, d / kQuantBlock, kv.head_dim, kv.block_tokens));\n    return",
     "ScaleOffset(token, 0, kv.head_dim, kv.block_tokens));\n    return"),
    ("kv_fp8", ROWS, KV, "numerics::F32ToE4M3(value)", "numerics::F32ToE4M3(value * 1.03f)"),
    ("kv_store_scale", ROWS, KV, "device::StoreGlobal(plane + ScaleOffset(token, d / kQuantBlock",
     "device::StoreGlobal(plane + ScaleOffset(token, 0"),
    ("qkv_expanded_half", ROWS, QKV_EXPANDED, "d < half ? d : d - half", "d < half ? d : d - half + 1"),
    ("qkv_expanded_value", ROWS, QKV_EXPANDED, "head - p.heads - kv_heads : head", "head - p.heads : head"),
    ("unit_kv_head", ATTENTION, UNIT, "view.unit.head / (p.heads / p.kv.kv_heads)",
     "view.unit.head % p.kv.kv_heads"),
    ("unit_first_token", ATTENTION, UNIT, "last.position - rows + 1", "last.position"),
    ("unit_row", ATTENTION, UNIT, "const int row = i / unit.heads;", "const int row = i % unit.rows;"),
    ("unit_member_row", ATTENTION, UNIT, "&members[row].row", "&members[0].row"),
    ("unit_member_partial", ATTENTION, UNIT, "&members[i / unit.heads].partial) + Head(i)",
     "&members[i / unit.heads].partial) + i"),
    ("unit_list_step", ATTENTION, UNIT, "unit += device::GridX() * team", "unit += device::GridX()"),
    ("unit_list_memory", ATTENTION, UNIT, "if (unit != first) device::SyncThreads();", ""),
    ("unit_query_column", ATTENTION, UNIT, "at = d + i / 2 * 8", "at = d + i % 2 * 8"),
    ("unit_window", ATTENTION, UNIT, "position - window + 1", "position - window"),
    ("unit_token_of_score", ATTENTION, UNIT, "tile + n * 8 + device::Lane() % 4 * 2 + i",
     "tile + n * 8 + device::Lane() % 4 + 2 * i"),
    ("unit_differs_after", ATTENTION, UNIT, "end - 1 > first_position ||", ""),
    ("unit_differs_before", ATTENTION, UNIT, " || begin < WindowStart(last_token, window)", ""),
    ("unit_row_sees", ATTENTION, UNIT, "view.RowSees(row, at + 1)", "view.RowSees(row, at)"),
    ("unit_row_of_output", ATTENTION, UNIT, "i / 2 * 8) / view.unit.heads == row",
     "i / 2 * 8) % view.unit.rows == row"),
    ("plain_keys", ATTENTION, PLAIN, "token, d + pair + 8)", "token, d + pair)"),
    ("plain_values", ATTENTION, PLAIN, "PairOfValues<H>(p, view, token + 8, d)",
     "PairOfValues<H>(p, view, token + 2, d)"),
    ("plain_tile_of_o", ATTENTION, PLAIN, "n * 8 + device::Lane() % 4 * 2 + i % 2;\n}",
     "n * 8 + device::Lane() % 4 + i % 2;\n}"),
    ("f32_place_in_block", ATTENTION, PLAIN, "PlaneOffset(token % p.kv.block_tokens, 0",
     "PlaneOffset(token % 16, 0"),
    ("f32_query_head", ATTENTION, PLAIN, "static_cast<size_t>(view.Head(i))",
     "static_cast<size_t>(view.Head(0))"),
    ("f32_sum", ATTENTION, PLAIN, "t % 8 / 2 == device::Lane()", "t % 4 == device::Lane()"),
    ("fold_stride", ATTENTION, PLAIN, "place.first + i * place.stride", "place.first + i"),
    ("fold_piece", ATTENTION, PLAIN, "WarpRow() % FoldPieces(p.head_dim) * device::kWarp", "0"),
    ("fold_at_once", ATTENTION, PLAIN, "first + j >= place.count", "first + j + 1 >= place.count"),
    ("fold_head", ATTENTION, PLAIN, "index >= p.rows * p.heads", "index >= p.rows"),
    ("plan_stride", ATTENTION, PLAN, "{plan_.partials + i, pieces, query_rows}",
     "{plan_.partials + i, pieces, query_rows - 1}"),
    ("plan_head", "cuda_attention_plan_test", PLAN, "kv_head * group + head", "kv_head * group"),
    ("plan_last_span", "cuda_attention_plan_test", PLAN, "(position + rows - 1) / kSpanTokens + 1",
     "(position + rows - 1) / kSpanTokens"),
    ("plan_team", "cuda_attention_plan_test", PLAN,
     "    while (in_teams && units.size() % kTeamUnits != 0) units.push_back({});\n  }",
     "    while (in_teams && units.size() % 2 != 0) units.push_back({});\n  }"),
    ("plan_member_span", ATTENTION, PLAN,
     "row.partial + (span - row.begin) * shape_.heads});", "row.partial});"),
    ("plan_part_of_span", "cuda_attention_plan_test", PLAN, "row.sequence->position + 1 < end ||", ""),
    ("plan_other_blocks", "cuda_attention_plan_test", PLAN, "std::ranges::equal(blocks, BlocksOf(b, span))",
     "blocks.front() == BlocksOf(b, span).front()"),
    ("plan_saved", "cuda_attention_plan_test", PLAN, "blocks * (rows.size() - reads)",
     "blocks * rows.size()"),
    ("plan_bound", "cuda_attention_plan_test", PLAN, "std::min(static_cast<size_t>(kMostSpanPartials),",
     "std::min(size_t{64},"),
    ("kv_64_bits", ATTENTION, QKV, "static_cast<uint64_t>(static_cast<uint32_t>(block)) * kv.block_bytes",
     "static_cast<uint32_t>(static_cast<uint32_t>(block) * kv.block_bytes)"),
    ("kv_layer", ATTENTION, QKV, "kv.layer * 2 + (values ? 1 : 0)", "kv.layer + (values ? 1 : 0)"),
    ("kv_table", ATTENTION, QKV, "At(place.sequence, tables.stride) + index", "index"),
    ("qkv_value_head", ROWS, QKV, "head - p.heads - p.kv.kv_heads : head", "head - p.heads : head"),
    ("qkv_half", ROWS, QKV, "target.Store(i + half,", "target.Store(i + half - 1,"),
    ("qkv_place_in_block", ROWS, QKV, "place.position % p.kv.block_tokens", "0"),
    ("dummy_index", ROWS, ROW, "first + static_cast<size_t>(i)", "static_cast<size_t>(i)"),
    ("dummy_row", ROWS, ROW, "static_cast<T*>(p.out) + first", "static_cast<T*>(p.out) + 2 * first"),
    ("row_piece", ROWS, ROW, "WarpRow() % pieces * kRowPiece", "0"),
    ("row_lane", ROWS, ROW, "if (i < piece.end) store", "if (i + 1 < piece.end) store"),
    ("embed_row", ROWS, ROW, "At(TokenOf(p, piece.row), p.dim)", "At(piece.row, p.dim)"),
    ("embed_drawn", ROWS, ROW, "p.drawn[-1 - token]", "p.drawn[-token]"),
    ("norm_weight", ROWS, ROW, "LoadF32(p.weight + i)", "LoadF32(p.weight + i / 2)"),
    ("gather_index", ROWS, ROW, "device::LoadGlobal<int32_t>(p.indices + piece.row)", "piece.row"),
    ("activation_up", ROWS, ROW, "x + p.width + i", "x + p.width + i / 2 * 2"),
    ("gemm_x_matrices", ROWS, GEMM, "matrix % 2 * 8 + line;\n  device::LoadMatrix4(a",
     "matrix / 2 * 8 + line;\n  device::LoadMatrix4(a"),
    ("gemm_tail", ROWS, GEMM, "there && at + e < k", "there"),
    ("gemm_column", ROWS, GEMM, "w.first + n * 8", "n * 8"),
    ("gemm_stage", ROWS, GEMM, "stage % kGemmStages * kStageBytes;\n    x.Copy", "0;\n    x.Copy"),
    ("gemm_f32_row", ROWS, GEMM, "device::BlockY() * kGemmTile + i / kGemmTile", "i / kGemmTile"),
    ("few_matrices", ROWS, FEW, "(matrix % 2 * 8 + line) * kFewRowBytes + (k + matrix / 2 * 8) * 2",
     "(matrix / 2 * 8 + line) * kFewRowBytes + (k + matrix % 2 * 8) * 2"),
    ("few_row_of_x", ROWS, FEW, "(kFewTile + row) * kFewRowBytes", "(kFewTile + row % 8) * kFewRowBytes"),
    ("few_absent_row", ROWS, FEW, "row < rows && column < p_.k", "column < p_.k"),
    ("few_tail", ROWS, FEW, "k < left; k += 16", "k + 16 < left; k += 16"),
    ("few_wait", ROWS, FEW, "WaitCopies<kStages - 2>", "WaitCopies<kStages - 1>"),
    ("few_await", ROWS, FEW, "    device::AwaitPredecessor();\n", ""),
    ("few_early_x", ROWS, FEW, "stage < stages; ++stage) CopyWeights(stage);",
     "stage < stages; ++stage) CopyWeights(stage), CopyX(stage);"),
    ("few_column", ROWS, FEW, "GemmStore(p, row, first + 8 + i, high)",
     "GemmStore(p, row, first + 7 + i, high)"),
    ("few_high_rows", FUSED, FEW, "tile_.high + row - 8", "tile_.low + row"),
    ("few_norm_pad", FUSED, FEW, "device::ThreadIndex() < 8", "device::ThreadIndex() < 7"),
    ("few_norm_row", FUSED, FEW, "if (row > 0) device::SyncThreads();", ""),
    ("few_norm_place", FUSED, FEW, "StageAt(kStages - 1, 0)", "StageAt(kStages - 2, 0)"),
    ("few_norm_early", FUSED, FEW, "if constexpr (kNorms) CopyNormWeights();",
     "if constexpr (kNorms) CopyNormWeights(), NormRows();"),
    ("fused_tile", FUSED, FUSED_FILE, "device::BlockX() * kFewNormWarps + device::Warp()",
     "device::BlockX() + device::Warp()"),
    ("fused_absent_head", FUSED, FUSED_FILE, " || low >= p.product.n", ""),
    ("fused_half", FUSED, FUSED_FILE, "target.Store(first + i + half, b)", "target.Store(first + i + 8, b)"),
    ("fused_bias", FUSED, FUSED_FILE, "WithBias(p.product, low + half + i, b)",
     "WithBias(p.product, low + i, b)"),
    ("fused_column", FUSED, FUSED_FILE, "column >= width", "column >= width + 8"),
    ("fused_up", FUSED, FUSED_FILE, "{first, width + first}", "{first, width + first + 1}"),
    ("quant_columns_of_x", QUANTIZED, QUANT, "lane % 8) * kXRow + (block + h) * 32 + matrix / 2 * 16",
     "lane % 8) * kXRow + (block + h) * 32 + matrix % 2 * 16"),
    ("quant_scale_of_x", QUANTIZED, QUANT, "(lane / 4 + 8 * i) * kXRow", "(lane / 4 + i) * kXRow"),
    ("quant_scale_of_w", QUANTIZED, QUANT, "half * 8 + lane % 4 * 2 + i) * kWRow",
     "lane % 4 * 2 + i) * kWRow"),
    ("quant_second_block", QUANTIZED, QUANT, "if (two) AddBlock", "AddBlock"),
    ("quant_rows_of_q4", QUANTIZED, QUANT, "b[i % 2][i / 2][1] = W::High", "b[i / 2][i % 2][1] = W::High"),
    ("quant_rows_of_q8", QUANTIZED, QUANT, "b[h][i / 2][i % 2] = words[i]", "b[h][i % 2][i / 2] = words[i]"),
    ("quant_tail", QUANTIZED, QUANT, "at < (scales ? row_bytes : integer_bytes)", "at < row_bytes"),
    ("quant_stage_of_scales", QUANTIZED, QUANT, "integer_bytes + stage * kScales", "integer_bytes"),
    ("quant_column", QUANTIZED, QUANT, "w_.first + n * 8", "n * 8"),
    ("quant_few_columns", QUANTIZED, QUANT_FEW, "i * 16 + t * 4", "i * 16 + t * 2 / 4 * 4"),
    ("quant_few_q4", QUANTIZED, QUANT_FEW, "a[i / 2][2 + i % 2] = W::High", "a[i / 2][3 - i % 2] = W::High"),
    ("quant_few_q8", QUANTIZED, QUANT_FEW, "(block + h) * 32 + matrix / 2 * 16", "(block + h) * 32"),
    ("quant_few_scale_of_w", QUANTIZED, QUANT_FEW, "(g + 8 * i) * kWRow", "(g + i) * kWRow"),
    ("quant_few_scale_of_x", QUANTIZED, QUANT_FEW, "row = n * 8 + 2 * t + i", "row = n * 8 + t + 4 * i"),
    ("quant_few_second_block", QUANTIZED, QUANT_FEW, "if (two) AddBlock", "AddBlock"),
    ("quant_few_stage_of_scales", QUANTIZED, QUANT_FEW, "ints + stage * kBlocks * 2", "ints"),
    ("quant_few_wait", QUANTIZED, QUANT_FEW, "WaitCopies<kStages - 2>", "WaitCopies<kStages - 1>"),
    ("quant_few_await", QUANTIZED, QUANT_FEW, "    device::AwaitPredecessor();\n", ""),
    ("quant_few_column", QUANTIZED, QUANT_FEW, "first_ + device::Lane() / 4 + i / 2 * 8",
     "first_ + device::Lane() / 4 + i % 2 * 8"),
    ("quant_halves", QUANTIZED, TYPES, "column % kQuantBlock < 16", "column % 16 < 8"),
    ("quant_least", QUANTIZED, TYPES, "largest < numerics::kQuantLeast", "largest == 0"),
    ("quant_rounding", QUANTIZED, TYPES, "device::Add(scaled, kIntegerBaseF32)",
     "device::Add(device::Add(scaled, 0.01f), kIntegerBaseF32)"),
    ("quant_row", QUANTIZED, ROW, "to + width + i / kQuantBlock * 4", "to + width + i / kQuantBlock"),
    ("embed_quant_scale", QUANTIZED, ROW, "p.dim) + i / kQuantBlock * 2", "p.dim)"),
    ("fold_quant_head", QUANTIZED, PLAIN, "column / p.head_dim, column % p.head_dim",
     "column / p.head_dim / 2, column % p.head_dim"),
    ("draw_ids", DRAWS, DRAW, "if (id < vocab) fn(id, values[j])", "if (id + 1 < vocab) fn(id, values[j])"),
    ("draw_bias", DRAWS, DRAW, "p.bias + spec.first_bias + i", "p.bias + i"),
    ("draw_count", DRAWS, DRAW, "p.counts + spec.first_count + i", "p.counts + i"),
    ("draw_uncounted", DRAWS, DRAW, "count.generated + (again ? 1 : 0)", "count.generated"),
    ("draw_uncounted_slot", DRAWS, DRAW, "p.drawn[spec.uncounted]", "p.drawn[spec.uncounted + 1]"),
    ("draw_new_token", DRAWS, DRAW, "is_counted == 0 && device", "device"),
    ("draw_banned", DRAWS, DRAW, "ban && i < spec.banned", "ban && i + 1 < spec.banned"),
    ("draw_first_allowed", DRAWS, DRAW, "if (first == 0 && LoadF32", "if (LoadF32"),
    ("draw_allowed", DRAWS, DRAW, "view.spec.first_allowed + id / 32", "id / 32"),
    ("draw_allowed_bit", DRAWS, DRAW, "word >> (id % 32)", "word >> (id % 31)"),
    ("draw_digit", DRAWS, DRAW, "(digit % 3 + 1) * kDigits", "digit % 3 * kDigits"),
    ("draw_bucket", DRAWS, DRAW, "      wanted -= sum;\n", ""),
    ("draw_cut", DRAWS, DRAW, "RankOf(logit, id) < cut", "RankOf(logit, id) <= cut"),
    ("draw_uniform", DRAWS, DRAW, "kept.view.spec.position, id)", "kept.view.spec.position, winner)"),
    ("draw_score", DRAWS, DRAW, "NotNan(LoadF32(view.raw + result->token))",
     "NotNan(LoadF32(view.changed + result->token))"),
    ("draw_top", DRAWS, DRAW, "p.top_tokens + spec.first_result + i", "p.top_tokens + i"),
]
# What --smoke plants: for each kernel of kernel_table.h a bug and the tests that run this kernel and no other
# one of the group, and a bug of the plan. The bugs of a group are planted together.
SMOKE = [
    {"Dummy": ("dummy_index", "CudaRows.Dummy*"),
     "Embed": ("embed_row", "CudaRows.Embed*-*Large*"),
     "RmsNorm": ("norm_weight", "CudaRows.RmsNorm*"),
     "Gather": ("gather_index", "CudaRows.Gather*"),
     "Activate": ("activation_up", "CudaRows.Activations*"),
     "Gemm": ("gemm_column", "*CudaGemm.*/bf16"),
     "GemmFew": ("few_column", "*CudaGemmFew.*/bf16"),
     "GemmF32": ("gemm_f32_row", "*CudaGemm.*/f32"),
     "Qkv": ("qkv_half", "*CudaQkv.*"),
     "Attention": ("staged_key_matrices", "*CudaAttention.OneRowOfStagedDims/bf16"),
     "AttentionHalf": ("plain_keys", "*CudaAttention.OneRow/bf16_plain"),
     "AttentionF32": ("f32_sum", "*CudaAttention.OneRow/f32"),
     "EmbedQuantized": ("embed_quant_scale", "*CudaQuantized.Embed*/q8_0"),
     "GemmQuantized": ("quant_column", "*CudaQuantized.ProductsAre*InEveryBlock*/q8_0"),
     "GemmFewQuantized": ("quant_few_column", "*CudaQuantized.ProductsOfFew*Borders*/q8_0"),
     "QkvExpanded": ("qkv_expanded_half", "*CudaQkv.*/q8_0"),
     "FoldQuantized": ("fold_quant_head", "CudaQuantizedRows.Folds*"),
     "Draw": ("draw_count", "CudaDraw.LongLists*"),
     "Attention by warpgroups": ("warpgroup_value_dims", "*CudaWarpgroups.Teams/bf16")},
    {"Fold": ("fold_stride", "*CudaAttention.UnitsOfOneSpanAndOfAll/f32"),
     "GemmFewQkv": ("fused_half", "*CudaFusedQkv.*/bf16"),
     "GemmFewGate": ("fused_up", "*CudaFusedGate.*/bf16")},
    {"the plan": ("plan_head", "*")},
]
TABLE = ROOT / "kernels/cuda/kernel_table.h"


def output_of(*command, cwd, env=None):
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"planted: {' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


class Build:
    """What a build folder knows of its objects and tests."""

    def __init__(self, folder):
        self.folder = folder
        self.compiles = {}  # object to the words of its command
        for entry in json.loads((folder / "compile_commands.json").read_text()):
            words = shlex.split(entry["command"])
            self.compiles[words[words.index("-o") + 1]] = words
        # The file leaves out the ccache of the build. With it only a change of a kernel compiles anything.
        self.launcher = [found] if (found := shutil.which("ccache")) else []
        self.environment = {**os.environ, "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}

    def program(self, test):
        return self.folder / "tests/kernels/cuda" / test

    def link_command(self, test):
        line = output_of("ninja", "-t", "commands", "-s", f"tests/kernels/cuda/{test}", cwd=self.folder)
        parts = [shlex.split(part) for part in line.split(" && ")]
        return next(words for words in parts if f"tests/kernels/cuda/{test}" in words and "-o" in words)

    def objects_from(self, link, path):
        """The objects that a test has and that were made from the file `path` of the tree."""
        made = []
        for output, words in self.compiles.items():
            source = self.folder / words[words.index("-c") + 1]
            if source == ROOT / path:
                made.append(output)
            elif output in link and source.is_relative_to(ROOT / "tests/support"):
                dependencies = output_of("ninja", "-t", "deps", output, cwd=self.folder).split()
                if any((self.folder / name).resolve() == ROOT / path for name in dependencies):
                    made.append(output)
        return made

    def compile(self, output, overlay, to):
        """Compiles an object into the file `to`; files in `overlay` replace those of the tree."""
        words = list(self.compiles[output])
        source = overlay / pathlib.Path(words[words.index("-c") + 1]).relative_to(ROOT)
        if source.exists():
            words[words.index("-c") + 1] = str(source)
        words[words.index("-o") + 1] = str(to)
        words.insert(words.index(f"-I{ROOT}"), f"-I{overlay}")
        output_of(*self.launcher, *words, cwd=self.folder, env=self.environment)


def run_test(program, tests="*"):
    """Returns the first line that says why one of the tests failed; None when they pass."""
    try:
        done = subprocess.run([program, "--gtest_fail_fast", f"--gtest_filter={tests}"], capture_output=True,
                              text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"it takes more than {SECONDS} s"
    if done.returncode == 0:
        return None
    output = done.stdout + done.stderr
    error = re.search(r".*CHECK failed.*|\[  FAILED  \] \S+", output)
    return error.group().strip()[:120] if error else f"exit code {done.returncode}"


def write_bugs(overlay, bugs):
    """Writes the files with all these bugs."""
    for _, _, path, old, new in bugs:
        file = overlay / path
        text = (file if file.exists() else ROOT / path).read_text()
        if text.count(old) != 1:
            sys.exit(f"planted: {path} has '{old}' {text.count(old)} times, not once; change its row in BUGS")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(old, new))


def link_tests(build, overlay, bugs):
    """Compiles what the bugs change, and links their tests with it. Returns the program of each test."""
    programs, compiled = {}, {}
    paths = {bug[2] for bug in bugs}
    for test in {bug[1] for bug in bugs}:
        link = build.link_command(test)
        outputs = {output for path in paths for output in build.objects_from(link, path)}
        if not outputs:
            sys.exit(f"planted: {test} has no object that depends on {', '.join(paths)}")
        for output in outputs:
            if output not in compiled:
                compiled[output] = str(overlay / f"{len(compiled)}.o")
                build.compile(output, overlay, compiled[output])
            if output in link:
                link[link.index(output)] = compiled[output]
            else:  # that of a library: what an object before it has, the linker does not take from it
                link.insert(link.index("-o"), compiled[output])
        programs[test] = overlay / test
        link[link.index("-o") + 1] = str(programs[test])
        output_of(*link, cwd=build.folder)
    return programs


def try_bugs(build, bugs, filters):
    """Plants bugs together. Returns for each its name, whether its tests found it, and a line about it."""
    started = time.monotonic()
    overlay = build.folder / "planted" / bugs[0][0]
    shutil.rmtree(overlay, ignore_errors=True)
    write_bugs(overlay, bugs)
    programs = link_tests(build, overlay, bugs)
    results = []
    for (name, test, *_), tests in zip(bugs, filters):
        error = run_test(programs[test], tests)
        seconds = time.monotonic() - started
        line = f"found in {seconds:.0f} s: {error}" if error else "NOT FOUND"
        results.append((name, error is not None, line))
        started = time.monotonic()
    shutil.rmtree(overlay)
    return results


def groups_of(options):
    """Returns the groups of bugs to be planted: pairs of rows of BUGS, and the filters of their tests."""
    rows = {bug[0]: bug for bug in BUGS}
    if options.smoke:
        kernels = set(re.findall(r"X\(k\w+, +\w+, +(\w+)", TABLE.read_text()))
        missing = kernels - {kernel for group in SMOKE for kernel in group}
        if missing or not kernels:
            sys.exit(f"planted: SMOKE has no bug of {', '.join(sorted(missing)) or 'any kernel'}")
        return [([rows[name] for name, _ in group.values()], [tests for _, tests in group.values()])
                for group in SMOKE]
    chosen = [bug for bug in BUGS if not options.names or bug[0].startswith(tuple(options.names))]
    return [([bug], ["*"]) for bug in chosen]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    groups = groups_of(options)
    build = Build(options.build.resolve())
    if not options.smoke:
        tests = sorted({bug[1] for bugs, _ in groups for bug in bugs})
        output_of("ninja", *tests, cwd=build.folder)
        for test in tests:
            if error := run_test(build.program(test)):
                sys.exit(f"planted: {test} fails without a bug: {error}")
    found = total = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for run in [pool.submit(try_bugs, build, *group) for group in groups]:
            for name, success, line in run.result():
                found += success
                total += 1
                print(f"{name:<24} {line}", flush=True)
    print(f"{found} of {total} planted bugs were found")
    return 0 if total and found == total else 1


if __name__ == "__main__":
    sys.exit(main())
