-- A claim that asks for fewer addresses goes on holding the others: release is told of how many.

drop function if exists release(text[], text[], uuid[], bigint[], text[], boolean, interval, boolean[], text);
