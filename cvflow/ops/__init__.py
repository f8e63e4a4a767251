"""Operations on boxes, maps and volumes that more than one model needs."""
