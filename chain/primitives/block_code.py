"""LLVM code that reads the transactions of a block, and hashes what consensus needs of them.

It gives up at whatever is malformed or rare: sizes and counts over 65,535, transactions without
inputs, unknown flags, more records than there is room for.

Safety: an offset that a function returns is at most the end of the data, or NOWHERE (-1), which is
beyond any end, so that every further read from there fails too. Each read is compared with the end
first (`skip`), and each record with the number of records that its table has room for
(`next_record`). What is hashed in the scratch is shorter than the bytes of the transaction, or of
the block, that it comes from.
"""

from typing import Final

from chain.primitives.block_tables import INPUT, ITEM, OUTPUT, TRANSACTION

_TXID_AT, _WTXID_AT, _PREVOUTS_AT, _SEQUENCES_AT, _OUTPUTS_AT = range(44, 204, 32)
_P2WPKH_START: Final = int.from_bytes(b"\x00\x14", "little")

CODE: Final = f"""
%Table = type {{ ptr, i64, i64 }}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

; Return the offset after `size` bytes at `at`, or NOWHERE (-1): they are not all there.
define internal i64 @skip(i64 %end, i64 %at, i64 %size) {{
  %is_somewhere = icmp ule i64 %at, %end
  %left = sub i64 %end, %at
  %is_enough = icmp ule i64 %size, %left
  %is_there = and i1 %is_somewhere, %is_enough
  %after = add i64 %at, %size
  %result = select i1 %is_there, i64 %after, i64 -1
  ret i64 %result
}}

; Store the CompactSize at `at`, at most 65,535, and return the offset after it; or 0 and NOWHERE.
define internal i64 @read_size(ptr %data, i64 %end, i64 %at, ptr %value) {{
entry:
  store i64 0, ptr %value
  %after_one = call i64 @skip(i64 %end, i64 %at, i64 1)
  %is_missing = icmp eq i64 %after_one, -1
  br i1 %is_missing, label %nowhere, label %look
look:
  %first_at = getelementptr i8, ptr %data, i64 %at
  %first = load i8, ptr %first_at
  %one = zext i8 %first to i64
  %is_one = icmp ult i64 %one, 253
  br i1 %is_one, label %of_one, label %of_more
of_one:
  store i64 %one, ptr %value
  ret i64 %after_one
of_more:
  %after_three = call i64 @skip(i64 %end, i64 %at, i64 3)
  %is_cut = icmp eq i64 %after_three, -1
  %is_wider = icmp ne i64 %one, 253
  %is_other = or i1 %is_cut, %is_wider
  br i1 %is_other, label %nowhere, label %of_three
of_three:
  %two_at = getelementptr i8, ptr %first_at, i64 1
  %two = load i16, ptr %two_at, align 1
  %three = zext i16 %two to i64
  %is_canonical = icmp uge i64 %three, 253
  br i1 %is_canonical, label %good, label %nowhere
good:
  store i64 %three, ptr %value
  ret i64 %after_three
nowhere:
  ret i64 -1
}}

; Return the place for a table's next record of `size` bytes, or null: it is full.
define internal ptr @next_record(ptr %table, i64 %size) {{
entry:
  %room_at = getelementptr %Table, ptr %table, i64 0, i32 1
  %used_at = getelementptr %Table, ptr %table, i64 0, i32 2
  %room = load i64, ptr %room_at
  %used = load i64, ptr %used_at
  %has_room = icmp ult i64 %used, %room
  br i1 %has_room, label %take, label %full
take:
  %records = load ptr, ptr %table
  %offset = mul i64 %used, %size
  %record = getelementptr i8, ptr %records, i64 %offset
  %more = add i64 %used, 1
  store i64 %more, ptr %used_at
  ret ptr %record
full:
  ret ptr null
}}

define internal i64 @used(ptr %tables, i64 %index) {{
  %used_at = getelementptr %Table, ptr %tables, i64 %index, i32 2
  %used = load i64, ptr %used_at
  ret i64 %used
}}

; Count a script other than P2WPKH, which may have signature operations, in the table without
; records.
define internal void @count_other(ptr %tables) {{
  %used_at = getelementptr %Table, ptr %tables, i64 4, i32 2
  %used = load i64, ptr %used_at
  %more = add i64 %used, 1
  store i64 %more, ptr %used_at
  ret void
}}

; Store the low 32 bits of a number in a record.
define internal void @put(ptr %record, i64 %offset, i64 %number) {{
  %place = getelementptr i8, ptr %record, i64 %offset
  %low = trunc i64 %number to i32
  store i32 %low, ptr %place, align 1
  ret void
}}

; Copy 32 bits of the data to a record.
define internal void @copy_uint32(ptr %record, i64 %offset, ptr %data, i64 %at) {{
  %place = getelementptr i8, ptr %record, i64 %offset
  %source = getelementptr i8, ptr %data, i64 %at
  %number = load i32, ptr %source, align 1
  store i32 %number, ptr %place, align 1
  ret void
}}

; Call a reader `count` times; return the offset after them, or NOWHERE as soon as the reader does.
define internal i64 @read_each(
  ptr %reader, i64 %count, ptr %data, i64 %end, i64 %start, ptr %tables, ptr %scratch) {{
entry:
  br label %look
look:
  %index = phi i64 [0, %entry], [%next, %read]
  %at = phi i64 [%start, %entry], [%after, %read]
  %is_more = icmp ult i64 %index, %count
  %is_somewhere = icmp ne i64 %at, -1
  %goes_on = and i1 %is_more, %is_somewhere
  br i1 %goes_on, label %read, label %done
read:
  %after = call i64 %reader(ptr %data, i64 %end, i64 %at, ptr %tables, ptr %scratch)
  %next = add i64 %index, 1
  br label %look
done:
  ret i64 %at
}}

define internal i64 @read_input(ptr %data, i64 %end, i64 %at, ptr %tables, ptr %scratch) {{
entry:
  %size_at = alloca i64
  %inputs = getelementptr %Table, ptr %tables, i64 1
  %record = call ptr @next_record(ptr %inputs, i64 {INPUT.size})
  %is_full = icmp eq ptr %record, null
  %after_outpoint = call i64 @skip(i64 %end, i64 %at, i64 36)
  %script = call i64 @read_size(ptr %data, i64 %end, i64 %after_outpoint, ptr %size_at)
  %size = load i64, ptr %size_at
  %sequence = call i64 @skip(i64 %end, i64 %script, i64 %size)
  %after = call i64 @skip(i64 %end, i64 %sequence, i64 4)
  %is_nowhere = icmp eq i64 %after, -1
  %is_bad = or i1 %is_full, %is_nowhere
  br i1 %is_bad, label %nowhere, label %good
good:
  %outpoint = getelementptr i8, ptr %data, i64 %at
  call void @llvm.memcpy.p0.p0.i64(ptr %record, ptr %outpoint, i64 36, i1 false)
  call void @copy_uint32(ptr %record, i64 36, ptr %data, i64 %sequence)
  call void @put(ptr %record, i64 40, i64 %script)
  call void @put(ptr %record, i64 44, i64 %sequence)
  %items = call i64 @used(ptr %tables, i64 3)
  call void @put(ptr %record, i64 48, i64 %items)
  %has_script = icmp ne i64 %size, 0
  br i1 %has_script, label %other, label %done
other:
  call void @count_other(ptr %tables)
  br label %done
done:
  ret i64 %after
nowhere:
  ret i64 -1
}}

define internal i64 @read_output(ptr %data, i64 %end, i64 %at, ptr %tables, ptr %scratch) {{
entry:
  %size_at = alloca i64
  %outputs = getelementptr %Table, ptr %tables, i64 2
  %record = call ptr @next_record(ptr %outputs, i64 {OUTPUT.size})
  %is_full = icmp eq ptr %record, null
  %after_value = call i64 @skip(i64 %end, i64 %at, i64 8)
  %script = call i64 @read_size(ptr %data, i64 %end, i64 %after_value, ptr %size_at)
  %size = load i64, ptr %size_at
  %after = call i64 @skip(i64 %end, i64 %script, i64 %size)
  %is_nowhere = icmp eq i64 %after, -1
  %is_bad = or i1 %is_full, %is_nowhere
  br i1 %is_bad, label %nowhere, label %good
good:
  %value = getelementptr i8, ptr %data, i64 %at
  call void @llvm.memcpy.p0.p0.i64(ptr %record, ptr %value, i64 8, i1 false)
  call void @put(ptr %record, i64 8, i64 %script)
  call void @put(ptr %record, i64 12, i64 %after)
  %script_at = getelementptr i8, ptr %data, i64 %script
  %script_hash = getelementptr i8, ptr %record, i64 16
  call void @sha256(ptr %script_hash, ptr %script_at, i64 %size)
  %has_size = icmp eq i64 %size, 22
  br i1 %has_size, label %look, label %other
look:
  %first_two = load i16, ptr %script_at, align 1
  %is_p2wpkh = icmp eq i16 %first_two, {_P2WPKH_START}
  br i1 %is_p2wpkh, label %done, label %other
other:
  call void @count_other(ptr %tables)
  br label %done
done:
  ret i64 %after
nowhere:
  ret i64 -1
}}

define internal i64 @read_item(ptr %data, i64 %end, i64 %at, ptr %tables, ptr %scratch) {{
entry:
  %size_at = alloca i64
  %items = getelementptr %Table, ptr %tables, i64 3
  %record = call ptr @next_record(ptr %items, i64 {ITEM.size})
  %is_full = icmp eq ptr %record, null
  %item = call i64 @read_size(ptr %data, i64 %end, i64 %at, ptr %size_at)
  %size = load i64, ptr %size_at
  %after = call i64 @skip(i64 %end, i64 %item, i64 %size)
  %is_nowhere = icmp eq i64 %after, -1
  %is_bad = or i1 %is_full, %is_nowhere
  br i1 %is_bad, label %nowhere, label %good
good:
  call void @put(ptr %record, i64 0, i64 %item)
  call void @put(ptr %record, i64 4, i64 %after)
  ret i64 %after
nowhere:
  ret i64 -1
}}

; Read the witnesses of the inputs from `first` on; if none has an item, that is NOWHERE.
define internal i64 @read_witnesses(
  i64 %first, ptr %data, i64 %end, i64 %start, ptr %tables, ptr %scratch) {{
entry:
  %count_at = alloca i64
  %inputs = getelementptr %Table, ptr %tables, i64 1
  %records = load ptr, ptr %inputs
  %inputs_end = call i64 @used(ptr %tables, i64 1)
  %items_before = call i64 @used(ptr %tables, i64 3)
  br label %look
look:
  %index = phi i64 [%first, %entry], [%next, %read]
  %at = phi i64 [%start, %entry], [%after, %read]
  %is_more = icmp ult i64 %index, %inputs_end
  %is_somewhere = icmp ne i64 %at, -1
  %goes_on = and i1 %is_more, %is_somewhere
  br i1 %goes_on, label %read, label %done
read:
  %items = call i64 @read_size(ptr %data, i64 %end, i64 %at, ptr %count_at)
  %count = load i64, ptr %count_at
  %after = call i64 @read_each(
    ptr @read_item, i64 %count, ptr %data, i64 %end, i64 %items, ptr %tables, ptr %scratch)
  %offset = mul i64 %index, {INPUT.size}
  %record = getelementptr i8, ptr %records, i64 %offset
  %items_end = call i64 @used(ptr %tables, i64 3)
  call void @put(ptr %record, i64 48, i64 %items_end)
  %next = add i64 %index, 1
  br label %look
done:
  %items_after = call i64 @used(ptr %tables, i64 3)
  %is_superfluous = icmp eq i64 %items_after, %items_before
  %result = select i1 %is_superfluous, i64 -1, i64 %at
  ret i64 %result
}}

; Copy `size` bytes of each of `count` records, `stride` bytes apart, one after the other.
define internal void @gather(ptr %out, ptr %records, i64 %stride, i64 %count, i64 %size) {{
entry:
  br label %look
look:
  %index = phi i64 [0, %entry], [%next, %copy]
  %is_more = icmp ult i64 %index, %count
  br i1 %is_more, label %copy, label %done
copy:
  %from = mul i64 %index, %stride
  %to = mul i64 %index, %size
  %source = getelementptr i8, ptr %records, i64 %from
  %target = getelementptr i8, ptr %out, i64 %to
  call void @llvm.memcpy.p0.p0.i64(ptr %target, ptr %source, i64 %size, i1 false)
  %next = add i64 %index, 1
  br label %look
done:
  ret void
}}

; The scratch has room for as many bytes as the data. What is hashed there is shorter.
define internal i64 @read_transaction(
  ptr %data, i64 %end, i64 %start, ptr %tables, ptr %scratch) {{
entry:
  %count_at = alloca i64
  %record = call ptr @next_record(ptr %tables, i64 {TRANSACTION.size})
  %is_full = icmp eq ptr %record, null
  %after_version = call i64 @skip(i64 %end, i64 %start, i64 4)
  %after_flag = call i64 @skip(i64 %end, i64 %after_version, i64 2)
  %is_short = icmp eq i64 %after_flag, -1
  %is_hopeless = or i1 %is_full, %is_short
  br i1 %is_hopeless, label %nowhere, label %look
look:
  %marker_at = getelementptr i8, ptr %data, i64 %after_version
  %marker = load i8, ptr %marker_at
  %flag_at = getelementptr i8, ptr %marker_at, i64 1
  %flag = load i8, ptr %flag_at
  %has_witness = icmp eq i8 %marker, 0
  %is_other_flag = icmp ne i8 %flag, 1
  %is_unknown = and i1 %has_witness, %is_other_flag
  br i1 %is_unknown, label %nowhere, label %read
read:
  %body = select i1 %has_witness, i64 %after_flag, i64 %after_version
  %first_input = call i64 @used(ptr %tables, i64 1)
  %others_before = call i64 @used(ptr %tables, i64 4)
  %inputs = call i64 @read_size(ptr %data, i64 %end, i64 %body, ptr %count_at)
  %input_count = load i64, ptr %count_at
  %inputs_end = call i64 @read_each(
    ptr @read_input, i64 %input_count, ptr %data, i64 %end, i64 %inputs, ptr %tables, ptr %scratch)
  %outputs = call i64 @read_size(ptr %data, i64 %end, i64 %inputs_end, ptr %count_at)
  %output_count = load i64, ptr %count_at
  %body_end = call i64 @read_each(
    ptr @read_output, i64 %output_count, ptr %data, i64 %end, i64 %outputs, ptr %tables,
    ptr %scratch)
  br i1 %has_witness, label %read_witnesses, label %finish
read_witnesses:
  %witnesses_end = call i64 @read_witnesses(
    i64 %first_input, ptr %data, i64 %end, i64 %body_end, ptr %tables, ptr %scratch)
  br label %finish
finish:
  %lock_time = phi i64 [%body_end, %read], [%witnesses_end, %read_witnesses]
  %after = call i64 @skip(i64 %end, i64 %lock_time, i64 4)
  %is_nowhere = icmp eq i64 %after, -1
  br i1 %is_nowhere, label %nowhere, label %store
store:
  %version_at = getelementptr i8, ptr %data, i64 %start
  %body_at = getelementptr i8, ptr %data, i64 %body
  %lock_time_at = getelementptr i8, ptr %data, i64 %lock_time
  %body_size = sub i64 %body_end, %body
  %base_size = add i64 %body_size, 8
  %whole_size = sub i64 %after, %start
  %has_witness_number = zext i1 %has_witness to i64
  %inputs_used = call i64 @used(ptr %tables, i64 1)
  %outputs_used = call i64 @used(ptr %tables, i64 2)
  call void @put(ptr %record, i64 0, i64 %start)
  call void @put(ptr %record, i64 4, i64 %after)
  call void @put(ptr %record, i64 8, i64 %base_size)
  call void @copy_uint32(ptr %record, i64 12, ptr %data, i64 %start)
  call void @copy_uint32(ptr %record, i64 16, ptr %data, i64 %lock_time)
  call void @put(ptr %record, i64 20, i64 %inputs_used)
  call void @put(ptr %record, i64 24, i64 %outputs_used)
  call void @put(ptr %record, i64 28, i64 %outputs)
  call void @put(ptr %record, i64 32, i64 %body_end)
  call void @put(ptr %record, i64 36, i64 %has_witness_number)
  %others = call i64 @used(ptr %tables, i64 4)
  %own_others = sub i64 %others, %others_before
  call void @put(ptr %record, i64 40, i64 %own_others)
  %txid = getelementptr i8, ptr %record, i64 {_TXID_AT}
  %wtxid = getelementptr i8, ptr %record, i64 {_WTXID_AT}
  %base_body = getelementptr i8, ptr %scratch, i64 4
  %base_lock_time = getelementptr i8, ptr %base_body, i64 %body_size
  call void @llvm.memcpy.p0.p0.i64(ptr %scratch, ptr %version_at, i64 4, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %base_body, ptr %body_at, i64 %body_size, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %base_lock_time, ptr %lock_time_at, i64 4, i1 false)
  call void @sha256d(ptr %txid, ptr %scratch, i64 %base_size)
  call void @sha256d(ptr %wtxid, ptr %version_at, i64 %whole_size)
  br i1 %has_witness, label %hash, label %done
hash:
  %prevouts = getelementptr i8, ptr %record, i64 {_PREVOUTS_AT}
  %sequences = getelementptr i8, ptr %record, i64 {_SEQUENCES_AT}
  %outputs_hash = getelementptr i8, ptr %record, i64 {_OUTPUTS_AT}
  %inputs_table = getelementptr %Table, ptr %tables, i64 1
  %input_records = load ptr, ptr %inputs_table
  %offset = mul i64 %first_input, {INPUT.size}
  %own_inputs = getelementptr i8, ptr %input_records, i64 %offset
  %own_sequences = getelementptr i8, ptr %own_inputs, i64 36
  %prevouts_size = mul i64 %input_count, 36
  %sequences_size = mul i64 %input_count, 4
  %outputs_at = getelementptr i8, ptr %data, i64 %outputs
  %outputs_size = sub i64 %body_end, %outputs
  call void @gather(
    ptr %scratch, ptr %own_inputs, i64 {INPUT.size}, i64 %input_count, i64 36)
  call void @sha256d(ptr %prevouts, ptr %scratch, i64 %prevouts_size)
  call void @gather(
    ptr %scratch, ptr %own_sequences, i64 {INPUT.size}, i64 %input_count, i64 4)
  call void @sha256d(ptr %sequences, ptr %scratch, i64 %sequences_size)
  call void @sha256d(ptr %outputs_hash, ptr %outputs_at, i64 %outputs_size)
  br label %done
done:
  ret i64 %after
nowhere:
  ret i64 -1
}}

; Leave the Merkle root of `count` nodes, at least one, in the place of the first; return whether
; the tree is mutated. There has to be room for one more node.
define internal i64 @merkle_root(ptr %nodes, i64 %leaves) {{
entry:
  br label %look
look:
  %count = phi i64 [%leaves, %entry], [%parents, %up]
  %mutated = phi i64 [0, %entry], [%mutated_now, %up]
  %is_root = icmp ule i64 %count, 1
  br i1 %is_root, label %done, label %level
level:
  %odd = and i64 %count, 1
  %even_count = add i64 %count, %odd
  %last = sub i64 %count, 1
  %last_offset = shl i64 %last, 5
  %last_at = getelementptr i8, ptr %nodes, i64 %last_offset
  %is_odd = icmp eq i64 %odd, 1
  br i1 %is_odd, label %repeat, label %pairs
repeat:
  %spare = getelementptr i8, ptr %last_at, i64 32
  call void @llvm.memcpy.p0.p0.i64(ptr %spare, ptr %last_at, i64 32, i1 false)
  br label %pairs
pairs:
  %parents = lshr i64 %even_count, 1
  br label %pair
pair:
  %index = phi i64 [0, %pairs], [%next, %pair]
  %mutated_so_far = phi i64 [%mutated, %pairs], [%mutated_now, %pair]
  %left_offset = shl i64 %index, 6
  %parent_offset = shl i64 %index, 5
  %left_at = getelementptr i8, ptr %nodes, i64 %left_offset
  %right_at = getelementptr i8, ptr %left_at, i64 32
  %parent_at = getelementptr i8, ptr %nodes, i64 %parent_offset
  %left = load i256, ptr %left_at, align 1
  %right = load i256, ptr %right_at, align 1
  %is_same = icmp eq i256 %left, %right
  %left_index = shl i64 %index, 1
  %right_index = add i64 %left_index, 1
  %is_own = icmp ult i64 %right_index, %count
  %is_mutation = and i1 %is_same, %is_own
  %mutation = zext i1 %is_mutation to i64
  %mutated_now = or i64 %mutated_so_far, %mutation
  call void @sha256d(ptr %parent_at, ptr %left_at, i64 64)
  %next = add i64 %index, 1
  %is_more = icmp ult i64 %next, %parents
  br i1 %is_more, label %pair, label %up
up:
  br label %look
done:
  ret i64 %mutated
}}

; Read `count` transactions, at least one, that fill the data from `at` to the end. Write the Merkle
; root of their txids, and of their wtxids with null for the first. Return whether the first tree is
; mutated, or -1: give up. The scratch has room for the data, and for one node more than there are
; transactions.
define i64 @read_block(
  ptr %data, i64 %end, i64 %at, i64 %count, ptr %tables, ptr %scratch, ptr %roots) {{
entry:
  %after = call i64 @read_each(
    ptr @read_transaction, i64 %count, ptr %data, i64 %end, i64 %at, ptr %tables, ptr %scratch)
  %is_whole = icmp eq i64 %after, %end
  br i1 %is_whole, label %hash, label %nowhere
hash:
  %records = load ptr, ptr %tables
  %txids = getelementptr i8, ptr %records, i64 {_TXID_AT}
  %wtxids = getelementptr i8, ptr %records, i64 {_WTXID_AT}
  %witness_root = getelementptr i8, ptr %roots, i64 32
  call void @gather(ptr %scratch, ptr %wtxids, i64 {TRANSACTION.size}, i64 %count, i64 32)
  call void @llvm.memset.p0.i64(ptr %scratch, i8 0, i64 32, i1 false)
  call i64 @merkle_root(ptr %scratch, i64 %count)
  call void @llvm.memcpy.p0.p0.i64(ptr %witness_root, ptr %scratch, i64 32, i1 false)
  call void @gather(ptr %scratch, ptr %txids, i64 {TRANSACTION.size}, i64 %count, i64 32)
  %mutated = call i64 @merkle_root(ptr %scratch, i64 %count)
  call void @llvm.memcpy.p0.p0.i64(ptr %roots, ptr %scratch, i64 32, i1 false)
  ret i64 %mutated
nowhere:
  ret i64 -1
}}
"""  # noqa: S608 - no SQL
